"""Weak convexity: how negative the curvature gets."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.lanczos import lanczos
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class WeakConvexity:
    """`-lambda_min` of the Hessian at this point and batch: below zero where the loss is strongly convex here.

    By Lanczos with `products` products: exact with as many as coordinates, otherwise at most the constant, and an
    eigenvalue lies within `weak_convexity_error`.
    """

    products: int = 20
    statement: ClassVar[str] = "-lambda_min(H) <= rho, so that f + rho/2 |x|^2 is convex here"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "arXiv:1803.06523"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "A rotation leaves it as it is: it cannot tell one basis from another."
    refuted: ClassVar[str] = "The most negative eigenvalue grows along training, or is as large as the largest one."
    means: ClassVar[str] = (
        "Theorems on convex losses hold up to rho |x - y|^2 / 2; stochastic subgradient methods converge at a "
        "rate with rho."
    )

    def __post_init__(self) -> None:
        """Refuse too few."""
        if self.products < 1:
            raise ValueError(f"WeakConvexity: products = {self.products} must be at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.products}

    def __call__(self, p: Point) -> dict[str, float]:
        """`weak_convexity` and `weak_convexity_error`."""
        found = lanczos(hessian(p), self.products, p.rng("lanczos"))
        return {"weak_convexity": -float(found.values[0]), "weak_convexity_error": float(found.errors[0])}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the smallest eigenvalue."""
        return {"weak_convexity": -float(torch.linalg.eigvalsh(h)[0])}
