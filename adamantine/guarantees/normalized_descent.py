"""Normalized gradient descent under (L0, L1)-smoothness."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class NormalizedDescent:
    """The mean of `|grad f(x_t)|_2` for `x <- x - rate g / |g|`, at a rate of at most `1 / L1`.

    With `|grad f(x) - grad f(y)| <= (L0 + L1 |grad f(x)|) |x - y|` for steps up to `1 / L1`, one of length `rate`
    lowers the loss by at least `rate |g| - (L0 + L1 |g|) rate^2 / 2`. Where only the Hessian is known to be at most
    `L0 + L1 |g|`, `2 L0` and `(e - 1) L1` do (arXiv:2010.02519).
    """

    statement: ClassVar[str] = "mean_t |grad f(x_t)|_2 <= (start / (rate T) + L0 rate / 2) / (1 - L1 rate / 2)"
    source: ClassVar[str] = "arXiv:1905.11881, arXiv:2305.01588"
    assumes: ClassVar[tuple[str, ...]] = ("l0", "l1", "rate", "steps", "start")
    bounds: ClassVar[str] = "mean_gradient_norm"
    optimizer: ClassVar[str] = "normalized descent"
    tight: ClassVar[str] = "f(x) = L0 x^2 / 2, with L1 = 0, in one step of rate |x|"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound; infinite where the rate is too large for the theorem."""
        l0, l1, rate, steps, start = known(c, self)
        if l1 * rate > 1:
            return math.inf
        return (start / (rate * steps) + l0 * rate / 2) / (1 - l1 * rate / 2)
