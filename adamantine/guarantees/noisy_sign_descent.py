"""Sign descent with the signs of noisy gradients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class NoisySignDescent:
    """The mean of `E |grad f(x_t)|_1` for signs of batches, `batch_noise_l1` the sum of the coordinates' deviations.

    A sign is wrong with a probability of at most `sigma_i / |d_i f|` (Markov), so that `E <grad f, sign g> >= |grad
    f|_1 - 2 sum_i sigma_i`.
    """

    statement: ClassVar[str] = "mean_t E |grad f(x_t)|_1 <= start / (rate T) + C rate / 2 + 2 sum_i sigma_i"
    source: ClassVar[str] = "arXiv:1802.04434"
    assumes: ClassVar[tuple[str, ...]] = ("max_norm_smoothness", "batch_noise_l1", "rate", "steps", "start")
    bounds: ClassVar[str] = "mean_gradient_l1"
    optimizer: ClassVar[str] = "sign descent"
    tight: ClassVar[str] = "half of it, by noise of two values that turns the sign just more often than not"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound, finite at every rate."""
        max_norm_smoothness, batch_noise_l1, rate, steps, start = known(c, self)
        return start / (rate * steps) + max_norm_smoothness * rate / 2 + 2 * batch_noise_l1
