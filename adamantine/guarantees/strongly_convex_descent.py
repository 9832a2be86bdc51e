"""Gradient descent on a smooth and strongly convex loss."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class StronglyConvexDescent:
    """`|x_T - x*|^2` after `steps` steps: the map `x - rate grad f(x)` contracts by `max(|1 - rate mu|, |1 - rate L|)`.

    `mu` is the least and `L` the largest curvature.
    """

    statement: ClassVar[str] = "|x_T - x*|_2^2 <= max(|1 - rate mu|, |1 - rate L|)^(2 T) distance^2"
    source: ClassVar[str] = "Polyak (1987, Introduction to Optimization)"
    assumes: ClassVar[tuple[str, ...]] = ("smoothness", "strong_convexity", "rate", "steps", "distance")
    bounds: ClassVar[str] = "squared_distance"
    optimizer: ClassVar[str] = "gradient descent"
    tight: ClassVar[str] = "a start along the eigenvector that contracts least"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound; infinite where the rate is too large for the theorem."""
        smoothness, strong_convexity, rate, steps, distance = known(c, self)
        if strong_convexity <= 0:
            return math.inf
        factor = max(abs(1 - rate * strong_convexity), abs(1 - rate * smoothness))
        return factor ** (2 * steps) * distance**2 if factor < 1 else math.inf
