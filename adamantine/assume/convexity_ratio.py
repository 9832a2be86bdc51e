"""Convexity along the path: whether the loss falls by less than the slope promises, as where it is convex."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.known import update


@dataclass(frozen=True)
class ConvexityRatio:
    """`<g, u> / (f(w) - f(w - u))` of one step, on the batch that made it: above 1 where the loss is convex along the
    step.

    For a loss that is homogeneous of degree `p` and a step to its minimum it is `p`. Over training, the ratio of the
    sums is what regret bounds need: sum `convexity_slope` and `convexity_decrease` for it. One forward pass. NaN for an
    update of zero. Raises ValueError where the point knows no update.
    """

    statement: ClassVar[str] = "f(w) - f(w - u) <= <grad f(w), u> along the steps u"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "arXiv:2407.01825"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "1, of a loss without curvature along the path."
    refuted: ClassVar[str] = "The ratio of sums over training is below 1: the loss is concave along the path."
    means: ClassVar[str] = (
        "Theorems for convex losses hold along this path wherever the ratio is at least 1, though the loss is "
        "not convex."
    )
    local: ClassVar[bool] = False
    cost: ClassVar[dict[str, int]] = {"grad": 1, "loss": 2}

    def __call__(self, p: Point) -> dict[str, float]:
        """`convexity_ratio`, `convexity_slope` and `convexity_decrease`."""
        u = update(p, "ConvexityRatio")
        slope, fall = float(tree.dot(p.grad, u)), float(p.loss) - float(p.at(tree.add(p.w, u, -1.0)).loss)
        ratio = slope / fall if fall else math.nan
        return {"convexity_ratio": ratio, "convexity_slope": slope, "convexity_decrease": fall}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        u = tree.flat(p.u or {})
        slope, fall = float(tree.flat(p.grad) @ u), float(tree.flat(p.grad) @ u - u @ h @ u / 2)
        return {"convexity_ratio": slope / fall, "convexity_slope": slope, "convexity_decrease": fall}
