"""An assumption as a probe of a run that must not stop for it."""

import math
from dataclasses import dataclass
from typing import Any

from adamantine.point import Point

VALUE, NULL = "value", "null"


@dataclass(frozen=True)
class Measured:
    """The first number of `assumption`, and what it would be under its null, where there is one.

    Named `Class/value` and `Class/null`. Nothing is told at points where it says that it cannot be, or not yet.
    """

    assumption: Any

    def __call__(self, p: Point) -> dict[str, float]:
        """Up to two numbers."""
        try:
            found = self.assumption(p)
            null = self.assumption.under_null(p) if hasattr(self.assumption, "under_null") else {}
        except ValueError:
            return {}
        name = next((k for k in found if "/" not in k), "")
        if not name or math.isnan(found[name]):
            return {}
        who = type(self.assumption).__name__
        out = {f"{who}/{VALUE}": found[name]}
        return out | ({f"{who}/{NULL}": null[name]} if name in null else {})
