"""Gradient descent on a smooth convex loss, with the best constant."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class ConvexDescent:
    """`f(x_T) - f*` after `steps` steps at a rate of at most `1 / L`, for a convex loss.

    The exact worst case over all such losses, found by semidefinite programming (Drori & Teboulle, theorem 3.1); the
    textbook bound, `distance^2 / (2 rate steps)`, is twice as large.
    """

    statement: ClassVar[str] = "f(x_T) - f* <= L distance^2 / (4 L rate T + 2)"
    source: ClassVar[str] = "arXiv:1206.3209"
    assumes: ClassVar[tuple[str, ...]] = ("smoothness", "rate", "steps", "distance")
    bounds: ClassVar[str] = "suboptimality"
    optimizer: ClassVar[str] = "gradient descent"
    tight: ClassVar[str] = "a Huber function of width distance / (2 L rate T + 1)"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound; infinite where the rate is too large for the theorem."""
        smoothness, rate, steps, distance = known(c, self)
        if smoothness * rate > 1 + 1e-12:
            return math.inf
        return smoothness * distance**2 / (4 * smoothness * rate * steps + 2)
