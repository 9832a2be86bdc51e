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

    Along an eigenvector with the eigenvalue `l`, the distance is multiplied by `phi_T(l)`, `phi_t+1 = (1 + momentum -
    rate l) phi_t - momentum phi_t-1`, a polynomial of degree `T`. Its maximum from `mu` to `L` is at most that over `N`
    Chebyshev points, divided by `cos(pi T / 2 N)` (Ehlich & Zeller 1964); `N` is at least 8 `T`. Finite at stable
    rates, below `2 (1 + momentum) / L`, where early steps may still lead away from the minimum. Of quadratics only.
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
        if not 0 <= momentum < 1 or rate * smoothness >= 2 * (1 + momentum) or strong_convexity < 0:
            return math.inf
        n = max(POINTS, 8 * int(steps))
        nodes = np.cos((2 * np.arange(n) + 1) * math.pi / (2 * n))
        eigenvalues = (smoothness + strong_convexity) / 2 + (smoothness - strong_convexity) / 2 * nodes
        before, now = np.ones(n), np.ones(n)
        for _ in range(int(steps)):
            before, now = now, (1 + momentum - rate * eigenvalues) * now - momentum * before
        between = math.cos(math.pi * int(steps) / (2 * n))
        return (float(np.abs(now).max()) / between * distance) ** 2
