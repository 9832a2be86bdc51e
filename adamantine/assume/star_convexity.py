"""Star-convexity along a run: does the slope towards its end promise at least the fall that came?"""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine import tree
from adamantine.assume.path import end_of, remembered
from adamantine.point import Point


@dataclass(frozen=True)
class StarConvexity:
    """`<g_t, w_t - w*> / (f(w_t) - f(w*))` with the end `w*` of the run; told at the last step, for the points before.

    `star_convexity/t` of every measured point and, without `/t`, the least: the constant `zeta`, at least 1 along
    paths on which the loss is star-convex, at least a positive number where it is quasar-convex. The loss at the end is
    that on the last batch: with small batches, points near the end say little. NaN where the loss did not fall. Keeps
    `2 keep` vectors as long as the weights in the notes. Raises ValueError where the point knows no update.
    """

    keep: int = 16
    statement: ClassVar[str] = "zeta (f(w) - f(w*)) <= <grad f(w), w - w*>"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "arXiv:1901.00451, arXiv:1906.11985"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "1, of a loss that is linear along the way."
    refuted: ClassVar[str] = "It is negative at some point: the gradient points away from where training ends."
    means: ClassVar[str] = "Rates for convex losses hold for gradient descent up to 1 / zeta where it stays positive."
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse to keep nothing."""
        if self.keep < 2:
            raise ValueError(f"StarConvexity: keep = {self.keep} must be at least 2.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"grad": 1, "loss": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`star_convexity` and `star_convexity/t`, at the last step."""
        kept = remembered(p, f"path of {self!r}", self.keep)
        end = end_of(p, "StarConvexity")
        if p.step < p.steps - 1:
            return {}
        last = float(p.at(end).loss)
        out: dict[str, float] = {}
        for step, w, g, loss in kept:
            slope, fall = float(tree.dot(g, tree.add(w, end, -1.0))), float(loss) - last
            out[f"star_convexity/{step}"] = slope / fall if fall else math.nan
        unknown = any(math.isnan(x) for x in out.values())
        return {"star_convexity": math.nan if unknown else min(out.values()), **out}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """Of a run of one step, whose end is where the step leads."""
        u = tree.flat(p.u or {})
        slope = float(tree.flat(p.grad) @ u)
        return {"star_convexity": slope / (slope - float(u @ h @ u) / 2)}
