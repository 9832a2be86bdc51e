"""An assumption as a probe of a run that must not stop for it."""

import math
from dataclasses import dataclass
from typing import Any

from adamantine.explaining.own_basis import told, turned
from adamantine.optim.hadamard import Hadamard
from adamantine.point import Point

VALUE, NULL, SCALE = "value", "null", "scale"


@dataclass(frozen=True)
class Measured:
    """The first number of `assumption`, what it would be under its null, and the scales of its constants.

    Named `Class/value`, `Class/null` and `Class/scale/...`. The null is the assumption's own, where it has one in
    numbers, or else the same measurement at the same weights and batch in coordinates turned at random, where rotations
    matter. Nothing is told at points where the assumption says that it cannot be, or not yet.
    """

    assumption: Any

    def __call__(self, p: Point) -> dict[str, float]:
        """Two numbers or more, or none."""
        try:
            found = self.assumption(p)
        except ValueError:
            return {}
        name = next((k for k in found if "/" not in k), "")
        if not name or math.isnan(found[name]):
            return {}
        who, null = type(self.assumption).__name__, self._null(p, name)
        out = {f"{who}/{VALUE}": found[name]}
        out |= {f"{who}/{NULL}": null} if math.isfinite(null) else {}
        scales = self.assumption.scales(p) if hasattr(self.assumption, "scales") else {}
        return out | {f"{who}/{SCALE}/{k}": x for k, x in scales.items()}

    def _null(self, p: Point, name: str) -> float:
        """NaN where a rotation changes nothing, or would need the gradients of all examples in other coordinates."""
        x = self.assumption
        if hasattr(x, "under_null"):
            return x.under_null(p).get(name, math.nan)
        if "rotation" in x.symmetry.split(" & ") or any(k.startswith("each") for k in x.cost):
            return math.nan
        return told(x, turned(p, (Hadamard("all"),)))
