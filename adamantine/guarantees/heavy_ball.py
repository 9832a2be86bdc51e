"""Heavy-ball momentum on quadratics."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adamantine.guarantees.constants import known

POINTS = 4001


@dataclass(frozen=True)
class HeavyBall:
    """`|x_T - x*|^2` for `x_t+1 = x_t - rate g_t + momentum (x_t - x_t-1)` from rest, on a quadratic.

    Along an eigenvector with the eigenvalue `l`, two successive distances are multiplied by the matrix `[[1 + momentum
    - rate l, -momentum], [1, 0]]`. The bound is the largest of the squared multiples after `steps` steps over 4,001
    values of `l` from `mu` to `L`, the ends among them, since its powers have closed forms but their maximum has none;
    so it is a bound to that resolution, and of quadratics only.
    """

    statement: ClassVar[str] = "|x_T - x*|_2^2 <= max_l phi_T(l)^2 distance^2, phi_T the polynomial of T steps"
    source: ClassVar[str] = "Polyak (1964)"
    assumes: ClassVar[tuple[str, ...]] = ("smoothness", "strong_convexity", "rate", "momentum", "steps", "distance")
    bounds: ClassVar[str] = "squared_distance"
    optimizer: ClassVar[str] = "heavy ball"
    tight: ClassVar[str] = "a start along the eigenvector whose multiple is largest"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound; infinite where the rate is too large for the theorem."""
        smoothness, strong_convexity, rate, momentum, steps, distance = known(c, self)
        eigenvalues = np.linspace(strong_convexity, smoothness, POINTS)
        before, now = np.ones(POINTS), np.ones(POINTS)
        for _ in range(int(steps)):
            before, now = now, (1 + momentum - rate * eigenvalues) * now - momentum * before
        worst = float(np.max(now**2))
        return worst * distance**2 if math.isfinite(worst) and worst < 1 else math.inf
