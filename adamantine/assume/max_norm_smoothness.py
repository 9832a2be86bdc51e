"""Smoothness in the maximum norm: the geometry of sign descent and Adam, which a rotation of coordinates changes."""

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.solvers.operator import hessian
from adamantine.solvers.signs import sign_power


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
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "Of a Haar-rotated Hessian, measured at the same batch in a random basis."
    refuted: ClassVar[str] = "Bases in which it is smaller do not train faster under sign descent or Adam."
    means: ClassVar[str] = "Sign descent and Adam are stable below a rate of 2 / C a coordinate; small C favours them."

    def __post_init__(self) -> None:
        """Refuse less than one start or sweep."""
        if self.starts < 1 or self.sweeps < 1:
            raise ValueError("MaxNormSmoothness: starts and sweeps must be at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.starts * self.sweeps, "grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`max_norm_smoothness`."""
        found = sign_power(hessian(p), self.starts, self.sweeps, p.rng("signs"), tree.flat(p.grad))
        return {"max_norm_smoothness": found.value}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The maximum over all sign vectors, by trying them: for a dozen coordinates."""
        signs = torch.tensor([*product((-1.0, 1.0), repeat=len(h))], dtype=h.dtype)
        return {"max_norm_smoothness": float((signs @ h).abs().sum(1).max())}
