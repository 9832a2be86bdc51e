"""Adam without momentum where every step sees all examples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class NoiselessAdam:
    """The mean over `steps` steps of `|grad f(x_t)|^2` for `x <- x - rate g / (sqrt(v) + eps)`, `v` debiased.

    `v` is the debiased mean of squares of `beta2`, and `R` bounds all partial derivatives along the path, so that the
    descent lemma gives `rate / (R + eps) sum |g|^2 <= start + L rate^2 / 2 sum_i sum_t g_i^2 / (sqrt(v_i) + eps)^2`.
    The last sum is at most `(log(1 + R^2 / ((1 - beta2) eps^2)) - T log beta2) / (1 - beta2)` for each of the
    `dimension` coordinates (lemma 5.2 of the source). Without noise, the source's term that no small rate
    removes is not there.
    """

    statement: ClassVar[str] = (
        "mean_t |grad f|_2^2 <= (R + eps) (start / (rate T) + "
        "L rate d / (2 (1 - beta2)) (log(1 + R^2 / ((1 - beta2) eps^2)) / T - log beta2))"
    )
    source: ClassVar[str] = "arXiv:2003.02395, its proof without noise"
    assumes: ClassVar[tuple[str, ...]] = (
        "smoothness",
        "bounded_gradient",
        "dimension",
        "beta2",
        "eps",
        "rate",
        "steps",
        "start",
    )
    bounds: ClassVar[str] = "mean_squared_gradient"
    optimizer: ClassVar[str] = "Adam"
    tight: ClassVar[str] = ""

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound; infinite where `beta2` or `eps` is out of range."""
        smoothness, bounded_gradient, dimension, beta2, eps, rate, steps, start = known(c, self)
        if not 0 < beta2 < 1 or eps <= 0:
            return math.inf
        grown = math.log1p(bounded_gradient**2 / ((1 - beta2) * eps**2)) / steps - math.log(beta2)
        curved = smoothness * rate * dimension / (2 * (1 - beta2)) * grown
        return (bounded_gradient + eps) * (start / (rate * steps) + curved)
