"""AdaGrad with one number for all coordinates: no constant needs to be known to set the rate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class AdagradNorm:
    """The mean of `|grad f(x_t)|^2` for `x <- x - rate g / b_t`, `b_t^2 = b_0^2 + sum_s |g_s|^2`, at any rate.

    The descent lemma gives `rate sum |g|^2 / b_t <= start + L rate^2 / 2 sum |g|^2 / b_t^2`, and the last sum is at
    most `log(b_T^2 / b_0^2)`. So `S = sum |g|^2` satisfies `S <= b_T (start / rate + L rate log(b_T / b_0))`, `b_T =
    sqrt(b_0^2 + S)`: the bound is the largest such `S`, found by iteration from above.
    """

    statement: ClassVar[str] = (
        "S <= sqrt(b0^2 + S) (start / rate + L rate log(sqrt(b0^2 + S) / b0)) for S = sum_t |grad f(x_t)|_2^2"
    )
    source: ClassVar[str] = "arXiv:1806.01811"
    assumes: ClassVar[tuple[str, ...]] = ("smoothness", "b0", "rate", "steps", "start")
    bounds: ClassVar[str] = "mean_squared_gradient"
    optimizer: ClassVar[str] = "AdaGrad-norm"
    tight: ClassVar[str] = "f(x) = L x^2 / 2 in one step of rate b0 / L, as b0 grows"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound, finite at every rate; infinite without a positive `b0`."""
        smoothness, b0, rate, steps, start = known(c, self)
        if b0 <= 0:
            return math.inf
        total = 1.0
        for _ in range(200):  # up to where it is above the largest fixed point, then down to it
            if total >= _most(total, smoothness, b0, rate, start):
                break
            total *= 4
        for _ in range(10_000):
            lower = _most(total, smoothness, b0, rate, start)
            if lower >= total * (1 - 1e-12):
                break
            total = lower
        return total / steps


def _most(total: float, smoothness: float, b0: float, rate: float, start: float) -> float:
    """The right side: it grows more slowly than `total`, so that iteration from above falls to the largest solution."""
    b = math.sqrt(b0**2 + total)
    return b * (start / rate + smoothness * rate * math.log(b / b0))
