"""Diagonality: how much of the Hessian lies on the diagonal, which a diagonal preconditioner can see."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine.assume.haar import entries
from adamantine.point import Point
from adamantine.solvers.diagonal import diagonal_energy
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class DiagonalEnergy:
    """`sum_i H_ii^2 / |H|_F^2`: 1 for a diagonal Hessian.

    From `probes` products with random signs, numerator and denominator without bias; the ratio's bias is of second
    order in its error, the jackknife's. The error grows with the number of coordinates: for a network only differences
    between bases on the same probes tell much. Keeps `2 probes` vectors.
    """

    probes: int = 16
    statement: ClassVar[str] = "sum_i H_ii^2 <= |H|_F^2, with equality if H is diagonal"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:2410.19964, arXiv:2604.25150"
    bound: ClassVar[str] = "unbiased"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "Of a Haar-rotated Hessian: (r + 2) / (d + 2) with its effective rank r = (tr H)^2 / |H|_F^2."
    refuted: ClassVar[str] = "Bases with more energy on the diagonal do not train faster under Adam."
    means: ClassVar[str] = (
        "The larger, the more a diagonal second moment can know of the curvature: it favours Adam in this basis."
    )

    def __post_init__(self) -> None:
        """Refuse too few."""
        if self.probes < 4:
            raise ValueError(f"DiagonalEnergy: probes = {self.probes} must be at least 4, or there is no error.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.probes}

    def __call__(self, p: Point) -> dict[str, float]:
        """`diagonal_energy` and its error."""
        a = hessian(p)
        found = diagonal_energy(a, a, self.probes, p.rng("diagonal energy"))
        return {"diagonal_energy": found.value, "diagonal_energy_error": found.error}

    def under_null(self, p: Point) -> dict[str, float]:
        """With the effective rank from as many products."""
        found = entries(p, self.probes)
        return {"diagonal_energy": found.size * found.diagonal}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        return {"diagonal_energy": float(h.diag().square().sum() / h.square().sum())}
