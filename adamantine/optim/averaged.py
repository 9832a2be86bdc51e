"""Averages of the iterates, evaluated in place of the last one (Polyak & Juditsky 1992).

Exponential: as in `torch.optim.swa_utils`. Over a tail of training: arXiv:1610.03774, arXiv:1803.05407.
"""

from dataclasses import dataclass

import torch

from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class Averaged(Part):
    """Train as `inner` does; `read` gives an average `x` of the weights it would have read after each step.

    From the fraction `start` of training on, `x <- beta x + (1 - beta) w`, or the plain mean of all `w` since then
    where `beta` is None; before, `x = w`.
    """

    inner: Part
    beta: float | None = 0.999
    start: float = 0.0

    def __post_init__(self) -> None:
        if self.beta is not None:
            limits.betas(self, beta=self.beta)
        limits.betas(self, start=self.start)
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
        """`n = 0` weights in the average, `x = w`."""
        return 0, each(torch.clone, w), self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner update, with the weights that it leads to added to the average."""
        n, x, held = s
        u, held = self.inner.update(u, held, p)
        w = self.inner.read({k: p.w[k] - y for k, y in u.items()}, held)
        if p.step < self.start * p.steps:
            return u, (0, w, held)
        share = 1 / (n + 1) if self.beta is None else 1 - self.beta
        return u, (n + 1, {k: torch.lerp(x[k], y, share) for k, y in w.items()}, held)

    def response(self, s: State, p: Point) -> Response | None:
        """The inner part's: the weights that step do not feel the average."""
        return self.inner.response(s[2], p)

    def read(self, w: Params, s: State) -> Params:
        """`x`."""
        return {k: s[1][k] for k in w}

    def renew(self, s: State, p: Point) -> State:
        """The inner part renews; the average goes on."""
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
