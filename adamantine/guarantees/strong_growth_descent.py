"""Stochastic gradient descent where the noise vanishes with the gradient."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class StrongGrowthDescent:
    """The mean of `E |grad f(x_t)|^2` where `E |g_B|^2 <= rho |grad f|^2` for batches: a constant rate needs no decay.

    `E f(x_t+1) <= f(x_t) - rate (1 - rho L rate / 2) |grad f|^2`. `batch_growth` is `rho`, of the batches in use.
    """

    statement: ClassVar[str] = "mean_t E |grad f(x_t)|_2^2 <= start / (T rate (1 - rho L rate / 2))"
    source: ClassVar[str] = "arXiv:1810.07288"
    assumes: ClassVar[tuple[str, ...]] = ("smoothness", "batch_growth", "rate", "steps", "start")
    bounds: ClassVar[str] = "mean_squared_gradient"
    optimizer: ClassVar[str] = "SGD"
    tight: ClassVar[str] = "f(x) = L x^2 / 2 with noise a multiple of the gradient, as steps grow"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound; infinite where the rate is too large for the theorem."""
        smoothness, batch_growth, rate, steps, start = known(c, self)
        gain = rate * (1 - batch_growth * smoothness * rate / 2)
        return start / (steps * gain) if gain > 0 else math.inf
