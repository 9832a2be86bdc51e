"""Smoothness along the update: the curvature that a step meets, whatever that of other directions."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.known import update
from adamantine.solvers.operator import hessian
from adamantine.solvers.trace import hutchinson


@dataclass(frozen=True)
class DirectionalSmoothness:
    """`u' H u / |u|^2` along the update `u` (directional sharpness), on the batch that made the update.

    The form does not depend on the basis; the update does, and so the number tells optimizers and bases apart. One
    Hessian-vector product; the probe `DirectionalSharpness` has the same from fresh batches. NaN for an update of zero.
    Raises ValueError where the point knows no update.
    """

    statement: ClassVar[str] = "u' H u <= S |u|^2 along the updates u"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "arXiv:2306.00204"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "The mean over random directions, tr H / d."
    refuted: ClassVar[str] = "Optimizers whose updates meet less curvature are not the faster ones."
    means: ClassVar[str] = (
        "Says how long a step may be along the update: Adam's is usually far below gradient descent's."
    )
    cost: ClassVar[dict[str, int]] = {"hvp": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`directional_smoothness`."""
        u = update(p, "DirectionalSmoothness")
        square = float(tree.dot(u, u))
        return {"directional_smoothness": float(tree.dot(u, p.hvp(u))) / square if square else math.nan}

    def under_null(self, p: Point) -> dict[str, float]:
        """With the trace from eight products."""
        a = hessian(p)
        return {"directional_smoothness": hutchinson(a, 8, p.rng("random direction")).value / a.size}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        u = tree.flat(p.u or {})
        return {"directional_smoothness": float(u @ h @ u / (u @ u))}
