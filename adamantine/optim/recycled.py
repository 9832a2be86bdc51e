"""Dormant units are recycled (ReDo, Sokar et al., arXiv:2302.12902)."""

from dataclasses import dataclass

from adamantine.optim import limits
from adamantine.optim.adam import adam
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.units import activations, forgotten, replaced
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params, add


@dataclass(frozen=True)
class Recycled(Part):
    """`inner`, and every `period` steps hidden units are made fresh whose mean `|h|` is at most `tau` of their layer's.

    The moments that `inner` holds of their weights are set to zero. A whole optimizer, with its rate. ValueError at
    such a step where the task has no `activations`.
    """

    inner: Part = adam(1e-3)
    period: int = 1000
    tau: float = 0.025

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        limits.whole(self, period=self.period)
        limits.nonnegative(self, tau=self.tau)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's, while no unit is replaced."""
        return self.inner.symmetry

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the inner part is, while no unit is replaced."""
        return self.inner.local

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    def init(self, w: Params) -> State:
        """The inner part's."""
        return self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner step, and behind it the recycling where it is due."""
        u, s = self.inner.update(u, s, p)
        if not p.step or p.step % self.period:
            return u, s
        layers = {k: h.abs().mean(0) for k, h in activations(p, "Recycled").items()}
        masks = {k: h <= self.tau * h.mean() for k, h in layers.items()}
        here = {k: p.w[k] for k in u}
        new, changed = replaced(p, masks, add(here, u, -1.0), "recycled units")
        return add(here, new, -1.0), forgotten(s, changed)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return self.inner.read(w, s)

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews."""
        return self.inner.renew(s, p)

    def state_bytes(self, w: Params) -> int:
        """The inner part's."""
        return self.inner.state_bytes(w)


def redo(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    period: int = 1000,
    tau: float = 0.025,
    schedule: Schedule = Constant(),
) -> Part:
    """`Recycled(Ema >> Rms >> Lr)` (arXiv:2302.12902)."""
    return Recycled(adam(lr, beta1, beta2, eps, schedule), period, tau)
