"""Restricted secant inequality and error bound along a run: does the gradient point to where training ends?"""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine import tree
from adamantine.assume.path import end_of, remembered
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class RestrictedSecant:
    """How the gradients of a run lie to its end `w* = w_T`; told at the last step, for every measured point before it.

    `restricted_secant/t` is `<g_t, w_t - w*> / |w_t - w*|^2`, `error_bound/t` is `|g_t| / |w_t - w*|`, and
    `secant_ratio/t`, the cosine between gradient and way, their ratio; without `/t` the least of the first and the
    last, and the largest of the second: the constants `mu`, `L` and `mu / L` that hold along the whole path. Batches'
    own gradients; positive cosines are expected of any path, since its end is the sum of its steps:
    `secant_excess/t` is what exceeds the `1 / sqrt(T - t)` of a random walk. Nothing is told before the last step.
    Keeps `2 keep` vectors as long as the weights in the notes; of more points every second is forgotten. NaN where
    weights stand still. Raises ValueError where the point knows no update.
    """

    keep: int = 16
    statement: ClassVar[str] = "mu |w - w*|_2^2 <= <grad f(w), w - w*>, |grad f(w)|_2 <= L |w - w*|_2"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "arXiv:2306.11922"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "A random walk with steps of equal lengths: a cosine of 1 / sqrt(T - t)."
    refuted: ClassVar[str] = "Cosines are negative, or do not exceed those of a random walk."
    means: ClassVar[str] = "Gradient descent converges linearly where mu is positive, at a rate set by mu / L."

    def __post_init__(self) -> None:
        """Refuse to keep nothing."""
        if self.keep < 2:
            raise ValueError(f"RestrictedSecant: keep = {self.keep} must be at least 2.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """All of these, at the last step."""
        kept = remembered(p, f"path of {self!r}", self.keep)
        end = end_of(p, "RestrictedSecant")
        if p.step < p.steps - 1:
            return {}
        each = {step: _numbers(w, g, end) for step, w, g, _ in kept}
        out = {f"{name}/{step}": x for step, found in each.items() for name, x in found.items()}
        if len(each) > 1:
            null = {step: 1 / math.sqrt(max(p.steps - step, 1)) for step in each}
            out |= {f"secant_excess/{step}": each[step]["secant_ratio"] - null[step] for step in each}
        first = next(iter(each.values()))
        for name in first:
            series = [found[name] for found in each.values()]
            unknown = any(math.isnan(x) for x in series)
            out[name] = math.nan if unknown else max(series) if name == "error_bound" else min(series)
        return out

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """Of a run of one step, whose end is where the step leads."""
        return _numbers(p.w, p.grad, tree.add(p.w, p.u or {}, -1.0))


def _numbers(w: Params, g: Params, end: Params) -> dict[str, float]:
    way = tree.add(w, end, -1.0)
    length, slope, steep = float(tree.norm(way)), float(tree.dot(g, way)), float(tree.norm(g))
    if not length or not math.isfinite(length + slope):
        return dict.fromkeys(("restricted_secant", "error_bound", "secant_ratio"), math.nan)
    cosine = slope / (length * steep) if steep else math.nan
    return {"restricted_secant": slope / length**2, "error_bound": steep / length, "secant_ratio": cosine}
