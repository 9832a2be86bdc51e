"""Update orthogonality: whether the singular values of the update are equal, as those of Muon are."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine.point import Point
from adamantine.probes.orthogonality import UpdateOrthogonality, noise_spread


@dataclass(frozen=True)
class OrthogonalUpdate:
    """`orthogonality`, `|U|_*^2 / (n |U|_F^2)` of the update of each matrix with the shorter side `n`, and their mean.

    At most 1, where all singular values are equal; `singular_spread`, their relative deviation, says the same as
    `sqrt(1 / orthogonality - 1)`, and `excess_spread` how far that exceeds what noise of this shape has: see the probe
    `UpdateOrthogonality`. Raises ValueError where the point knows no update, or none of a matrix.
    """

    statement: ClassVar[str] = "|U|_nuclear^2 <= n |U|_F^2, with equality for an orthogonal update"
    symmetry: ClassVar[str] = "left-right rotation"
    source: ClassVar[str] = "arXiv:2410.19964, arXiv:2512.04299"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "Matrices of noise of the same shapes (Marchenko-Pastur): an excess spread of 0."
    refuted: ClassVar[str] = (
        "Arms of equal speed differ in it, as Adam in a random basis and with one shared second moment do."
    )
    means: ClassVar[str] = (
        "If it were the cause, methods that orthogonalize, as Muon, would be the fastest at every batch size."
    )
    cost: ClassVar[dict[str, int]] = {}

    def __call__(self, p: Point) -> dict[str, float]:
        """`orthogonality`, `singular_spread` and `excess_spread`, each for every matrix too."""
        found = UpdateOrthogonality()(p)
        return {k: x for k, x in found.items() if not k.startswith("nuclear_rank")}

    def under_null(self, p: Point) -> dict[str, float]:
        """Of large matrices of these shapes."""
        shapes = [(len(x), x[0].numel()) for x in p.w.values() if x.ndim > 1]
        each = [1 / (1 + noise_spread(min(s) / max(s)) ** 2) for s in shapes if min(s) > 1]
        return {"orthogonality": sum(each) / len(each)} if each else {}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """By singular values."""
        found = UpdateOrthogonality().on_quadratic(p, h)
        return {k: found[k] for k in ("orthogonality", "singular_spread")}
