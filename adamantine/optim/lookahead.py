"""Lookahead (Zhang et al., arXiv:1907.08610): fast weights explore, and slow ones follow them part of the way."""

from dataclasses import dataclass

import torch

from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.optim.adam import adamw
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class Lookahead(Part):
    """Every `period` steps of `inner`, `slow <- slow + alpha (w - slow)` and the weights start again from `slow`.

    The state of `inner` is kept across these returns, as in the paper's experiments. `read` gives the slow weights.
    """

    inner: Part
    period: int = 5
    alpha: float = 0.5

    def __post_init__(self) -> None:
        limits.whole(self, period=self.period)
        if not 0 < self.alpha <= 1:
            raise ValueError(
                f"Lookahead: alpha = {self.alpha!r} must lie in (0, 1], as the share of the way that the slow weights "
                "follow the fast ones; 0.5 is usual."
            )
        limits.part(self, inner=self.inner)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.symmetry

    @property
    def gradients(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part is."""
        return self.inner.local

    def init(self, w: Params) -> State:
        """`t = 0`, `slow = w`."""
        return 0, each(torch.clone, w), self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner update; every `period` steps, what leads back to the slow weights instead."""
        t, slow, held = s[0] + 1, s[1], s[2]
        u, held = self.inner.update(u, held, p)
        if t % self.period:
            return u, (t, slow, held)
        slow = {k: torch.lerp(slow[k], p.w[k] - x, self.alpha) for k, x in u.items()}
        return {k: p.w[k] - x for k, x in slow.items()}, (t, slow, held)

    def read(self, w: Params, s: State) -> Params:
        """The slow weights, as the inner part reads them."""
        return self.inner.read({k: s[1][k] for k in w}, s[2])

    def renew(self, s: State, p: Point) -> State:
        """The inner part renews."""
        return *s[:2], self.inner.renew(s[2], p)

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.inner.units

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The inner part's."""
        return self.inner.moments(s[2], w)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """For the inner part."""
        return *s[:2], self.inner.adopt(s[2], live, w)

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights, and the inner part's."""
        return size_bytes(w) + self.inner.state_bytes(w)


def lookahead_adamw(
    lr: float,
    period: int = 5,
    alpha: float = 0.5,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
    schedule: Schedule = Constant(),
) -> Part:
    """`Lookahead(adamw)` (arXiv:1907.08610, algorithm 1 with AdamW inside)."""
    return Lookahead(adamw(lr, beta1, beta2, eps, decay, schedule), period, alpha)
