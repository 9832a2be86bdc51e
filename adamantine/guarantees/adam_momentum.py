"""Adam with momentum under bounded gradients."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class AdamWithMomentum:
    """The mean of `E |grad f(x_t)|^2`, step `t` of `T` weighted by `1 - beta1^(T - t)`, at a constant rate.

    Theorem 4 of the source, for `0 <= beta1 < beta2 < 1`, a momentum that is not debiased and a second moment that is;
    `eps` and `R` as in `AdamWithoutMomentum`. What momentum adds to the proof is that a step follows gradients of
    earlier places, whose distance smoothness and the length of the steps between bound. At `beta1 = 0` it is the bound
    without momentum but for the constant of the noise, 12 instead of 4: it does not say that momentum helps. Infinite
    where the run has no more steps than momentum reaches back, `beta1 / (1 - beta1)`.
    """

    statement: ClassVar[str] = (
        "E |grad f(x_tau)|_2^2 <= 2 R start / (rate T') + E (log(1 + R^2 / ((1 - beta2) eps)) - T log beta2) / T', "
        "T' = T - beta1 / (1 - beta1), E = rate d R L (1 - beta1) / ((1 - beta1 / beta2) (1 - beta2)) + "
        "12 d R^2 sqrt(1 - beta1) / ((1 - beta1 / beta2)^1.5 sqrt(1 - beta2)) + "
        "2 rate^2 d L^2 beta1 / ((1 - beta1 / beta2) (1 - beta2)^1.5)"
    )
    source: ClassVar[str] = "arXiv:2003.02395"
    assumes: ClassVar[tuple[str, ...]] = (
        "smoothness",
        "bounded_gradient",
        "dimension",
        "beta1",
        "beta2",
        "eps",
        "rate",
        "steps",
        "start",
    )
    bounds: ClassVar[str] = "weighted_squared_gradient"
    optimizer: ClassVar[str] = "Adam"
    tight: ClassVar[str] = ""

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound; infinite where `beta1`, `beta2` or `eps` is out of range, or the run too short."""
        smoothness, bounded_gradient, d, beta1, beta2, eps, rate, steps, start = known(c, self)
        if not 0 <= beta1 < beta2 < 1 or eps <= 0 or steps * (1 - beta1) <= beta1:
            return math.inf
        inside, kept, left = eps**2 / (1 - beta2), 1 - beta1 / beta2, steps - beta1 / (1 - beta1)
        most = bounded_gradient + math.sqrt(inside)
        curved = rate * d * most * smoothness * (1 - beta1) / (kept * (1 - beta2))
        noise = 12 * d * most**2 * math.sqrt(1 - beta1) / (kept**1.5 * math.sqrt(1 - beta2))
        lagged = 2 * rate**2 * d * smoothness**2 * beta1 / (kept * (1 - beta2) ** 1.5)
        grown = math.log(1 + most**2 / ((1 - beta2) * inside)) - steps * math.log(beta2)
        return 2 * most * start / (rate * left) + (curved + noise + lagged) * grown / left
