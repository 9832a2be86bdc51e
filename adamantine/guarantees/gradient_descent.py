"""Gradient descent on a smooth loss."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class GradientDescent:
    """`min_t |grad f(x_t)|_2^2` over `steps` steps of `x <- x - rate g`, for a loss with an `L`-Lipschitz gradient.

    Each step lowers the loss by at least `rate (1 - L rate / 2) |g|^2` (the descent lemma); the sum telescopes. So it
    is for the mean over the steps, which is bounded alike.
    """

    statement: ClassVar[str] = "mean_t |grad f(x_t)|_2^2 <= start / (steps rate (1 - L rate / 2))"
    source: ClassVar[str] = "Nesterov (2004, Introductory Lectures on Convex Optimization)"
    assumes: ClassVar[tuple[str, ...]] = ("smoothness", "rate", "steps", "start")
    bounds: ClassVar[str] = "mean_squared_gradient"
    optimizer: ClassVar[str] = "gradient descent"
    tight: ClassVar[str] = "f(x) = L x^2 / 2 in one step of rate 1 / L"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound; infinite where the rate is too large for the theorem."""
        smoothness, rate, steps, start = known(c, self)
        gain = rate * (1 - smoothness * rate / 2)
        return start / (steps * gain) if gain > 0 else math.inf
