"""The largest eigenvalue of the Hessian (sharpness: Cohen et al., arXiv:2103.00065)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.lanczos import lanczos
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class Sharpness:
    """The largest eigenvalue of the Hessian of the batch's loss, and a bound on its error.

    Costs `products` Hessian-vector products; from the second measured point on it starts near the eigenvector found
    before, so that few are needed. The error bounds the distance to the nearest eigenvalue, not to the largest: one
    that has just become the largest may be missed for a measurement or two.
    """

    products: int = 10
    units: ClassVar[dict[str, str]] = {"sharpness": "largest eigenvalue of the Hessian; loss / weight^2"}
    caveat: ClassVar[str] = (
        "A batch's sharpness exceeds the full loss's on average, and with cross-entropy it falls with the training "
        "loss: compare at equal batch and equal loss."
    )

    def __post_init__(self) -> None:
        """Refuse less than one product."""
        if self.products < 1:
            raise ValueError(f"Sharpness: products = {self.products} must be at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.products}

    def __call__(self, p: Point) -> dict[str, float]:
        """`sharpness` and `sharpness_error`: an eigenvalue lies within the error of the value."""
        note = f"top eigenvector of {self!r}"
        found = lanczos(hessian(p), self.products, p.rng("lanczos"), p.notes.get(note))
        value = float(found.values[-1])
        if math.isfinite(value):
            p.notes[note] = found.vectors[-1]
        return {"sharpness": value, "sharpness_error": float(found.errors[-1])}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The largest eigenvalue."""
        return {"sharpness": float(torch.linalg.eigvalsh(h)[-1])}
