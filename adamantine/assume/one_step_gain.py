"""One-step gain: how far the best step along the optimizer's own direction can lower the loss."""

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
class OneStepGain:
    """`<g, u>^2 / (2 u' H u)`, the largest decrease of the quadratic model along the update `u`.

    It joins slope and curvature, and depends on the optimizer and its basis by `u` alone; the length of `u` does not
    matter. Infinite where the curvature along `u` is not positive, NaN for an update of zero. One batch: for numbers
    without its bias see `gain_of`. Raises ValueError where the point knows no update.
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
        return {"one_step_gain": gain_of(float(tree.dot(p.grad, u)), float(tree.dot(u, p.hvp(u))))}

    def under_null(self, p: Point) -> dict[str, float]:
        """With the trace from eight products."""
        trace = hutchinson(hessian(p), 8, p.rng("random direction")).value
        return {"one_step_gain": gain_of(float(tree.norm(p.grad)), trace)}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        u = tree.flat(p.u or {})
        return {"one_step_gain": gain_of(float(tree.flat(p.grad) @ u), float(u @ h @ u))}


def gain_of(slope: float, curvature: float) -> float:
    """`slope^2 / (2 curvature)`; infinite where the curvature is not positive and the slope not zero."""
    if not slope or math.isnan(slope + curvature):
        return math.nan
    return slope**2 / (2 * curvature) if curvature > 0 else math.inf
