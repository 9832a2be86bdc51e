"""Smoothness in the Euclidean norm: the assumption of nearly every theorem on gradient descent."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.probes.sharpness import lanczos


@dataclass(frozen=True)
class Smoothness:
    """The spectral norm of the Hessian at this point and batch, `max |lambda|`: the local constant `L`.

    Costs `products` Hessian-vector products. The Ritz values approach from inside, so that the value is exact where
    `smoothness_error` is small and a lower bound otherwise.
    """

    products: int = 20
    statement: ClassVar[str] = "|grad f(x) - grad f(y)|_2 <= L |x - y|_2"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "Nesterov (2004, Introductory Lectures on Convex Optimization)"
    bound: ClassVar[str] = "exact"

    def __post_init__(self) -> None:
        """Refuse less than one product."""
        if self.products < 1:
            raise ValueError(f"Smoothness: products = {self.products} must be at least 1.")

    def __call__(self, p: Point) -> dict[str, float]:
        """`smoothness` and `smoothness_error`."""
        found = lanczos(p, self.products)
        i = int(found.values.abs().argmax())
        return {"smoothness": abs(float(found.values[i])), "smoothness_error": float(found.errors[i])}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The spectral norm."""
        return {"smoothness": float(torch.linalg.eigvalsh(h).abs().max())}
