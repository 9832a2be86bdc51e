"""Smoothness in the metric that dividing by the size of the gradient makes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.solvers.lanczos import lanczos
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class PreconditionedSmoothness:
    """The spectral norm of `D^-1/2 H D^-1/2` with `D = sqrt(g^2 + (share r)^2)`, `r` the root mean square of `g`.

    `D` is what a second moment without memory divides by; `share` keeps coordinates without a slope from dividing by
    zero. `preconditioned_gain` is the factor by which it beats one number for all, `|H| / (|D^-1/2 H D^-1/2| d^-1 tr
    D)`: above 1 the preconditioner lowers the largest curvature at equal mean step. By Lanczos with `products` products
    each; exact with as many as coordinates. The probe `PreconditionedSharpness` has the same for an optimizer's own
    moments.
    """

    products: int = 12
    share: float = 0.1
    statement: ClassVar[str] = "|D^-1/2 (grad f(x) - grad f(y))| <= L |D^1/2 (x - y)|, D = diag |g|"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:2402.07114, arXiv:2207.14484"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = (
        "Of the same numbers D in random order over the coordinates: then the gain is at most 1, about."
    )
    refuted: ClassVar[str] = "The gain is below 1 in the basis in which Adam is fast."
    means: ClassVar[str] = (
        "The gain says what dividing by the second moment does to the largest curvature: above 1 favours Adam."
    )

    def __post_init__(self) -> None:
        """Refuse less than one product and a share of nothing."""
        if self.products < 1 or not self.share > 0:
            raise ValueError("PreconditionedSmoothness: products must be at least 1 and share above 0.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": 2 * self.products, "grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`preconditioned_smoothness` and `preconditioned_gain`."""
        g = {k: x / 1.0 for k, x in p.grad.items()}
        d = self._divisor(tree.flat(g))
        if not bool(d.isfinite().all() & (d > 0).all()):
            return dict.fromkeys(("preconditioned_smoothness", "preconditioned_gain"), torch.nan)
        root = tree.like(d.rsqrt(), g)
        inside = hessian(p, lambda v: tree.each(torch.mul, v, root))
        found = [lanczos(a, self.products, p.rng("lanczos")).values.abs().max() for a in (inside, hessian(p))]
        return _numbers(float(found[0]), float(found[1]), float(d.mean()))

    def _divisor(self, g: Tensor) -> Tensor:
        return (g.square() + self.share**2 * g.square().mean()).sqrt()

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        d = self._divisor(tree.flat(p.grad))
        inside = d.rsqrt()[:, None] * h * d.rsqrt()
        top = [float(torch.linalg.eigvalsh(x).abs().max()) for x in (inside, h)]
        return _numbers(top[0], top[1], float(d.mean()))


def _numbers(inside: float, plain: float, mean: float) -> dict[str, float]:
    gain = plain / (inside * mean) if inside else torch.nan
    return {"preconditioned_smoothness": inside, "preconditioned_gain": gain}
