"""Gradient descent under the Polyak-Lojasiewicz condition."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class PolyakLojasiewiczDescent:
    """`f(x_T) - f*` after `steps` steps, for `2 mu (f - f*) <= |grad f|^2`: linear convergence without convexity.

    Each step lowers the loss by at least `rate (1 - L rate / 2) |g|^2 >= 2 mu rate (1 - L rate / 2) (f - f*)`.
    """

    statement: ClassVar[str] = "f(x_T) - f* <= (1 - 2 mu rate (1 - L rate / 2))^T start"
    source: ClassVar[str] = "Polyak (1963); arXiv:1608.04636"
    assumes: ClassVar[tuple[str, ...]] = ("smoothness", "polyak_lojasiewicz", "rate", "steps", "start")
    bounds: ClassVar[str] = "suboptimality"
    optimizer: ClassVar[str] = "gradient descent"
    tight: ClassVar[str] = "f(x) = L x^2 / 2, whose mu is L, at every rate"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound; infinite where the rate is too large for the theorem."""
        smoothness, polyak_lojasiewicz, rate, steps, start = known(c, self)
        gain = rate * (1 - smoothness * rate / 2)
        if gain <= 0 or polyak_lojasiewicz < 0:
            return math.inf
        return max(0.0, 1 - 2 * polyak_lojasiewicz * gain) ** steps * start
