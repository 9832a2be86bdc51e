"""Spectral descent, the idea of Muon, on a loss that is smooth in the spectral norm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from adamantine.guarantees.constants import known


@dataclass(frozen=True)
class SpectralDescent:
    """The mean over `steps` steps of the nuclear norm of the gradient for `X <- X - rate polar(G)`, at any rate.

    With `|grad f(X) - grad f(Y)|_nuclear <= C |X - Y|_op`, a step lowers the loss by at least `rate |G|_nuclear - C
    rate^2 / 2`. Norms are summed, and the largest taken, over tensors as in `assume.SpectralSmoothness`.
    """

    statement: ClassVar[str] = "mean_t |grad f(X_t)|_nuclear <= start / (rate T) + C rate / 2"
    source: ClassVar[str] = "arXiv:2502.07529, arXiv:2505.13416"
    assumes: ClassVar[tuple[str, ...]] = ("spectral_smoothness", "rate", "steps", "start")
    bounds: ClassVar[str] = "mean_gradient_nuclear"
    optimizer: ClassVar[str] = "spectral descent"
    tight: ClassVar[str] = "f(X) = C <A, X>^2 / 2, |A|_nuclear = 1, in one step of rate |<A, X>|"

    def __call__(self, c: Mapping[str, float]) -> float:
        """The bound, finite at every rate."""
        spectral_smoothness, rate, steps, start = known(c, self)
        return start / (rate * steps) + spectral_smoothness * rate / 2
