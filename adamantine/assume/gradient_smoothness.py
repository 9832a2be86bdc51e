"""(L0, L1)-smoothness: curvature that grows with the gradient, the assumption that explains clipping."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.solvers.lanczos import lanczos
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class GradientSmoothness:
    """`|H|_2 / |g|_2` at this point and batch: the least `L1` that `|H| <= L0 + L1 |g|` allows here with `L0 = 0`.

    One point tells no two constants. Over training, the assumption is a line above all pairs `(|g|, |H|)`, which
    `adamantine.checking.envelope` fits with the help of `scales`; where this ratio stays within a factor while the
    gradient falls by several, `L1` carries the curvature, and where it grows as `1 / |g|`, `L0` does. By Lanczos, as
    `Smoothness`; exact with as many `products` as coordinates.
    """

    products: int = 20
    statement: ClassVar[str] = "|H|_2 <= L0 + L1 |grad f|_2"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "arXiv:1905.11881"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "A rotation leaves it as it is: it cannot tell one basis from another."
    refuted: ClassVar[str] = (
        "The ratio grows in proportion to 1 / |g| along training: curvature does not follow the gradient."
    )
    means: ClassVar[str] = (
        "Clipped and normalized gradient descent may use rates up to 1 / L1 on the normalized step; plain "
        "descent may not."
    )

    def __post_init__(self) -> None:
        """Refuse too few."""
        if self.products < 1:
            raise ValueError(f"GradientSmoothness: products = {self.products} must be at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.products, "grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`gradient_smoothness` and its error."""
        found, length = lanczos(hessian(p), self.products, p.rng("lanczos")), float(tree.norm(p.grad))
        i = int(found.values.abs().argmax())
        value, error = abs(float(found.values[i])), float(found.errors[i])
        if not length > 0:
            return {"gradient_smoothness": math.nan, "gradient_smoothness_error": math.nan}
        return {"gradient_smoothness": value / length, "gradient_smoothness_error": error / length}

    def scales(self, p: Point) -> dict[str, float]:
        """What `L1` multiplies."""
        return {"|grad f|": float(tree.norm(p.grad))}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The spectral norm over the gradient's."""
        return {"gradient_smoothness": float(torch.linalg.eigvalsh(h).abs().max() / tree.norm(p.grad))}
