"""Curvature along the step that the optimizer takes (directional sharpness; Pan & Li, arXiv:2306.00204)."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine import tree
from adamantine.point import Point


@dataclass(frozen=True)
class DirectionalSharpness:
    """`u' H u / |u|^2` along the update `u`, and `gain`, the most that a step along `u` can lower the quadratic model.

    `gain = <g, u>^2 / (2 u' H u)` in units of the loss, reached by the step `<g, u> / (u' H u)` times `u`; infinite
    where the curvature is not positive, and both are NaN for an update of zero. One Hessian-vector product. Curvature
    and update come from one batch, which raises both above what a fresh batch would show. Raises ValueError where the
    point knows no update.
    """

    units: ClassVar[dict[str, str]] = {
        "directional_sharpness": "u' H u / |u|^2; loss / weight^2",
        "gain": "largest decrease of the quadratic model along the update; loss",
    }
    caveat: ClassVar[str] = "Curvature and update come from one batch, which raises both."
    cost: ClassVar[dict[str, int]] = {"grad": 1, "hvp": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`directional_sharpness` and `gain`."""
        if p.u is None:
            raise ValueError(
                "DirectionalSharpness: the point has no update; measure it in a Run, or at `point.after(u, s)`."
            )
        length = float(tree.norm(p.u))
        if not length:
            return {"directional_sharpness": math.nan, "gain": math.nan}
        v = tree.each(lambda x: x / length, p.u)
        curvature, slope = float(tree.dot(v, p.hvp(v))), float(tree.dot(p.grad, v))
        gain = math.inf if curvature <= 0 else slope**2 / (2 * curvature)
        return {"directional_sharpness": curvature, "gain": gain}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The same from dense matrices."""
        u, g = tree.flat(p.u or {}), h @ tree.flat(p.w)
        curvature = float(u @ h @ u)
        gain = float(g @ u) ** 2 / (2 * curvature) if curvature > 0 else math.inf
        return {"directional_sharpness": curvature / float(u @ u), "gain": gain}
