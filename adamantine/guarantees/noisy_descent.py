"""Stochastic gradient descent with noise of bounded variance."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class NoisyDescent:
    """The mean over `steps` steps of `E |grad f(x_t)|^2`, those of batches with the variance `batch_variance`.

    `E f(x_t+1) <= f(x_t) - rate (1 - L rate / 2) |grad f|^2 + L rate^2 sigma^2 / 2`.
    """

    statement: ClassVar[str] = (
        "mean_t E |grad f(x_t)|_2^2 <= (start / (rate T) + L rate sigma^2 / 2) / (1 - L rate / 2)"
    )
    source: ClassVar[str] = "arXiv:1309.5549"
    assumes: ClassVar[tuple[str, ...]] = ("smoothness", "batch_variance", "rate", "steps", "start")
    bounds: ClassVar[str] = "mean_squared_gradient"
    optimizer: ClassVar[str] = "SGD"
    tight: ClassVar[str] = "f(x) = L x^2 / 2, as steps grow"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound; infinite where the rate is too large for the theorem."""
        smoothness, batch_variance, rate, steps, start = known(c, self)
        share = 1 - smoothness * rate / 2
        if share <= 0:
            return math.inf
        return (start / (rate * steps) + smoothness * rate * batch_variance / 2) / share
