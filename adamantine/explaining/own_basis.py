"""A point as an optimizer sees it: in the coordinates that it keeps its moments in."""

import math
from dataclasses import dataclass, replace
from typing import Any

from adamantine.live import FIRST, SECOND
from adamantine.optim.basis import seen_in
from adamantine.point import Point
from adamantine.probes.known import optimizer
from adamantine.run import Probe


def bases_of(p: Point) -> tuple[Any, ...]:
    """The changes of coordinates, outermost first, that the optimizer keeps its second moment in, or else its first.

    None where it keeps no moments, or in different coordinates for different tensors. Raises ValueError where the
    point knows no optimizer.
    """
    held = optimizer(p, "bases_of").moments(p.s, p.w)
    for kind in (SECOND, FIRST):
        found = [m.bases for m in held if m.kind == kind]
        if found:
            return found[0] if all(x == found[0] for x in found) else ()
    return ()


def turned(p: Point, bases: tuple[Any, ...]) -> Point:
    """The point and its update in these coordinates: loss, gradient, curvature and the examples' gradients."""
    for basis in bases:
        u = p.u
        p = replace(seen_in(basis, p.w, p), w=basis.forth(p.w))
        p = p if u is None else replace(p, u=basis.forth(u))
    return p


def told(measure: Probe, p: Point) -> float:
    """The first number that is of the whole; NaN where there is none, or the measure says that it cannot be told here.

    As of a loss that does not split by example, or a network without a matrix: a run goes on without it.
    """
    try:
        found = measure(p)
    except ValueError:
        return math.nan
    if not isinstance(found, dict):
        return found
    return next((x for k, x in found.items() if "/" not in k), math.nan)


@dataclass(frozen=True)
class OwnBasis:
    """The first number of `measure`, named after its class, in the coordinates that the optimizer keeps its moments in.

    Nothing where it cannot be told, or not yet.
    """

    measure: Probe

    def __call__(self, p: Point) -> dict[str, float]:
        """One number or none."""
        value = told(self.measure, turned(p, bases_of(p)))
        return {} if math.isnan(value) else {type(self.measure).__name__: value}
