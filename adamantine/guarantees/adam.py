"""Adam without momentum under bounded gradients."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class AdamWithoutMomentum:
    """The mean over `steps` steps of `E |grad f(x_t)|^2` for Adam with `beta1 = 0`, debiased, at a constant rate.

    Theorem 2 of the source, in its notation, with `R - sqrt(eps)` bounding all partial derivatives of all batches. It
    adds its `eps` inside the root to a sum of squares, after many steps `1 / (1 - beta2)` times an average: the usual
    `eps`, outside of the root, is `eps^2 / (1 - beta2)` there, and the two denominators then differ by at most a
    factor of `sqrt(2)`. `E <grad f, g / sqrt(v + eps)> >= |grad f|^2 / 2 sqrt(E v + eps) - 2 R E |g|^2 / (v + eps)`
    costs the term in `R^2`, which no small rate removes. `dimension` is the number of coordinates.
    """

    statement: ClassVar[str] = (
        "mean_t E |grad f|_2^2 <= 2 R start / (rate T) + E (log(1 + R^2 / ((1 - beta2) eps)) / T - log beta2), "
        "E = 4 d R^2 / sqrt(1 - beta2) + rate d R L / (1 - beta2)"
    )
    source: ClassVar[str] = "arXiv:2003.02395"
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
        inside = eps**2 / (1 - beta2)
        most = bounded_gradient + math.sqrt(inside)
        noise = 4 * dimension * most**2 / math.sqrt(1 - beta2) + rate * dimension * most * smoothness / (1 - beta2)
        grown = math.log(1 + most**2 / ((1 - beta2) * inside)) / steps - math.log(beta2)
        return 2 * most * start / (rate * steps) + noise * grown
