"""Smoothness in the Euclidean norm: the assumption of nearly every theorem on gradient descent."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.lanczos import lanczos
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class Smoothness:
    """The spectral norm of the Hessian at this point and batch, `max |lambda|`: the local constant `L`.

    Costs `products` Hessian-vector products. Ritz values approach from inside, so that the value is a lower bound; an
    eigenvalue lies within `smoothness_error` of it, and with as many products as coordinates it is exact.
    """

    products: int = 20
    statement: ClassVar[str] = "|grad f(x) - grad f(y)|_2 <= L |x - y|_2"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "Nesterov (2004, Introductory Lectures on Convex Optimization)"
    bound: ClassVar[str] = "lower"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "A rotation leaves it as it is: it cannot tell one basis from another."
    refuted: ClassVar[str] = "It grows along training faster than the gradient falls or exceeds 2 over the rate in use."
    means: ClassVar[str] = "Gradient descent is stable below a rate of 2 / L; it says nothing of Adam's basis."

    def __post_init__(self) -> None:
        """Refuse less than one product."""
        if self.products < 1:
            raise ValueError(f"Smoothness: products = {self.products} must be at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.products}

    def __call__(self, p: Point) -> dict[str, float]:
        """`smoothness` and `smoothness_error`."""
        found = lanczos(hessian(p), self.products, p.rng("lanczos"))
        i = int(found.values.abs().argmax())
        return {"smoothness": abs(float(found.values[i])), "smoothness_error": float(found.errors[i])}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The spectral norm."""
        return {"smoothness": float(torch.linalg.eigvalsh(h).abs().max())}
