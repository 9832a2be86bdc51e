"""Axis alignment: whether the sharpest direction lies along few coordinates."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.lanczos import lanczos
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class EigenvectorAlignment:
    """The inverse participation ratio `sum_i v_i^4` of the eigenvector `v` of the largest eigenvalue: 1 along a
    coordinate.

    By Lanczos with `products` products; exact with as many as coordinates, otherwise of a vector that mixes in others
    where the gap to the next eigenvalue is small.
    """

    products: int = 20
    statement: ClassVar[str] = "sum_i v_i^4 <= 1 for H v = lambda_max v, with equality along an axis"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:2604.25150"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "Of a Haar-random direction: 3 / (d + 2)."
    refuted: ClassVar[str] = "Bases in which it is larger do not train faster under Adam."
    means: ClassVar[str] = (
        "Aligned sharp directions are damped by a second moment of their own: it favours Adam in this basis."
    )

    def __post_init__(self) -> None:
        """Refuse too few."""
        if self.products < 1:
            raise ValueError(f"EigenvectorAlignment: products = {self.products} must be at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.products}

    def __call__(self, p: Point) -> dict[str, float]:
        """`eigenvector_alignment`."""
        found = lanczos(hessian(p), self.products, p.rng("lanczos"))
        return {
            "eigenvector_alignment": float(
                (found.vectors[-1] / found.vectors[-1].norm()).pow(4).sum() + 0 * found.values[-1]
            )
        }

    def under_null(self, p: Point) -> dict[str, float]:
        """In a random basis."""
        return {"eigenvector_alignment": 3 / (sum(x.numel() for x in p.w.values()) + 2)}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        return {"eigenvector_alignment": float(torch.linalg.eigh(h)[1][:, -1].pow(4).sum())}
