"""The constants that a theorem asks for."""

import math
from collections.abc import Mapping
from typing import Any


def known(c: Mapping[str, float], theorem: Any) -> tuple[float, ...]:
    """Those that `theorem.assumes` names, in its order. Raises ValueError for one that is missing or no number."""
    who = type(theorem).__name__
    for name in theorem.assumes:
        if name not in c:
            raise ValueError(f"{who}: the constant {name!r} is missing; it needs {', '.join(theorem.assumes)}.")
        if math.isnan(c[name]):
            raise ValueError(f"{who}: the constant {name!r} is no number; measure it where the run was finite.")
    return tuple(float(c[name]) for name in theorem.assumes)
