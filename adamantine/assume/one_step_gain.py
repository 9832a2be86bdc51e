"""One-step gain: how far the best step along the optimizer's own direction can lower the loss."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine import tree
from adamantine.pieces import pieces
from adamantine.point import Point
from adamantine.probes.known import update
from adamantine.solvers.operator import hessian
from adamantine.solvers.trace import hutchinson


@dataclass(frozen=True)
class OneStepGain:
    """`<g, u>^2 / (2 u' H u)`, the largest decrease of the quadratic model along the update `u`.

    It joins slope and curvature, and depends on the optimizer and its basis by `u` alone; the length of `u` does not
    matter. Infinite where the curvature along `u` is not positive, NaN for an update of zero. The noise of a batch adds
    to the squared slope; where the point's batch is in `Pieces`, products of the slopes of different ones take its
    place, without bias, and may be negative. Raises ValueError where the point knows no update.
    """

    statement: ClassVar[str] = "f(w) - min_t f(w - t u) <= <g, u>^2 / (2 u' H u) up to third order"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "arXiv:2002.08056, arXiv:2306.00204"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "Along a random direction: |g|^2 / (2 tr H)."
    refuted: ClassVar[str] = "Optimizers and bases with a larger gain do not train faster."
    means: ClassVar[str] = (
        "The larger, the more one step of this optimizer can do here: the direct predictor of its speed."
    )
    cost: ClassVar[dict[str, int]] = {"hvp": 1, "grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`one_step_gain`."""
        u = update(p, "OneStepGain")
        parts = pieces(p.batch)
        slopes = [p.grad] if len(parts) < 2 else [p.on(x).grad for x in parts]
        square = squared([float(tree.dot(g, u)) for g in slopes])
        return {"one_step_gain": gain_of(square, float(tree.dot(u, p.hvp(u))))}

    def under_null(self, p: Point) -> dict[str, float]:
        """With the trace from eight products."""
        trace = hutchinson(hessian(p), 8, p.rng("random direction")).value
        return {"one_step_gain": gain_of(float(tree.norm(p.grad)) ** 2, trace)}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        u = tree.flat(p.u or {})
        return {"one_step_gain": gain_of(float(tree.flat(p.grad) @ u) ** 2, float(u @ h @ u))}


def gain_of(square: float, curvature: float) -> float:
    """`square / (2 curvature)`, of a squared slope; infinite where the curvature is not positive, NaN without slope."""
    if not square or math.isnan(square + curvature):
        return math.nan
    return square / (2 * curvature) if curvature > 0 else math.inf


def squared(slopes: list[float]) -> float:
    """The square of one number; of several independent ones that of their mean, without bias, from different pairs."""
    n, total = len(slopes), sum(slopes)
    return total**2 if n < 2 else (total**2 - sum(x * x for x in slopes)) / (n * (n - 1))
