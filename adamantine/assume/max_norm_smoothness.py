"""Smoothness in the maximum norm: the geometry of sign descent and Adam, which a rotation of coordinates changes."""

import math
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point


@dataclass(frozen=True)
class MaxNormSmoothness:
    """A lower bound of `max_s |H s|_1` over sign vectors `s`: the local constant `C`.

    Alternating maximization, `s <- sign(H s)`, never lowers `|H s|_1`; the best of `starts` runs of `sweeps`
    products each is kept, the first from the signs of the gradient, the others at random. Exact maximization is as
    hard as the largest cut of a graph. Costs at most `starts * sweeps` Hessian-vector products. NaN where a product is.
    """

    starts: int = 4
    sweeps: int = 8
    statement: ClassVar[str] = "|grad f(x) - grad f(y)|_1 <= C |x - y|_inf"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:2002.08056, arXiv:2410.08198, arXiv:2410.19964"
    bound: ClassVar[str] = "lower"

    def __post_init__(self) -> None:
        """Refuse less than one start or sweep."""
        if self.starts < 1 or self.sweeps < 1:
            raise ValueError("MaxNormSmoothness: starts and sweeps must be at least 1.")

    def __call__(self, p: Point) -> dict[str, float]:
        """`max_norm_smoothness`."""
        rng = p.rng("signs")
        best = 0.0
        for i in range(self.starts):
            s = tree.each(_sign, p.grad) if i == 0 else tree.each(lambda x: _random_signs(x, rng), p.w)
            value = 0.0
            for _ in range(self.sweeps):
                turned = p.hvp(s)
                reached = float(tree.norm(turned, 1))
                if math.isnan(reached):
                    return {"max_norm_smoothness": math.nan}
                if reached <= value * (1 + 1e-9):
                    break
                value, s = reached, tree.each(_sign, turned)
            best = max(best, value)
        return {"max_norm_smoothness": best}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The maximum over all sign vectors, by trying them: for a dozen coordinates."""
        signs = torch.tensor([*product((-1.0, 1.0), repeat=len(h))], dtype=h.dtype)
        return {"max_norm_smoothness": float((signs @ h).abs().sum(1).max())}


def _sign(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0).to(x.dtype)


def _random_signs(x: Tensor, rng: torch.Generator) -> Tensor:
    return (2 * torch.randint(2, x.shape, generator=rng) - 1).to(x.device, x.dtype)
