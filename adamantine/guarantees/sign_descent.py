"""Sign descent on a loss that is smooth in the maximum norm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class SignDescent:
    """The mean over `steps` steps of `|grad f(x_t)|_1` for `x <- x - rate sign(g)`, at any rate.

    With `|grad f(x) - grad f(y)|_1 <= C |x - y|_inf`, a step lowers the loss by at least `rate |g|_1 - C rate^2 / 2`.
    """

    statement: ClassVar[str] = "mean_t |grad f(x_t)|_1 <= start / (rate T) + C rate / 2"
    source: ClassVar[str] = "arXiv:1802.04434, arXiv:2002.08056"
    assumes: ClassVar[tuple[str, ...]] = ("max_norm_smoothness", "rate", "steps", "start")
    bounds: ClassVar[str] = "mean_gradient_l1"
    optimizer: ClassVar[str] = "sign descent"
    tight: ClassVar[str] = "f(x) = C x^2 / 2 in one step of rate |x|"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound, finite at every rate."""
        max_norm_smoothness, rate, steps, start = known(c, self)
        return start / (rate * steps) + max_norm_smoothness * rate / 2
