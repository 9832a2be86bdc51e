"""Sharpness-aware minimization (Foret et al., arXiv:2010.01412): step with the gradient of the worst nearby point."""

from dataclasses import dataclass
from typing import ClassVar

from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Momentum
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.symmetry import GROUPS, holds, symmetry_of
from adamantine.tree import Params, norm


@dataclass(frozen=True)
class Sam(Part):
    """Run `inner` on the gradient at `w + rho u / |u|`, taken on the same batch; `|u|` is over all tensors it is given.

    With `adaptive` the neighbourhood is scaled by the weights (arXiv:2102.11600), `T = |w| + eta` coordinate by
    coordinate: the gradient at `w + rho T^2 u / |T u|`. `inner` sees the weights where they are.
    """

    inner: Part = Chain()
    rho: float = 0.05
    adaptive: bool = False
    eta: float = 0.01
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.positive(self, rho=self.rho)
        limits.nonnegative(self, eta=self.eta)
        limits.part(self, inner=self.inner)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's; of an adaptive neighbourhood, what of it permutes and flips coordinates."""
        kept = holds(self.inner.symmetry)
        return symmetry_of(kept & GROUPS["signed permutation"] if self.adaptive else kept)

    @property
    def gradients(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The second one, and the inner part's."""
        return 1 + self.inner.gradients

    def init(self, w: Params) -> State:
        """The inner part's."""
        return self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """What the inner part makes of the gradient at the neighbour."""
        if self.adaptive:
            by = {k: p.w[k].abs() + self.eta for k in u}
            length = norm({k: by[k] * x for k, x in u.items()})
            away = {k: by[k].square() * x for k, x in u.items()}
        else:
            length, away = norm(u), u
        # 1e-12, as the authors add, so that a zero gradient stays where it is.
        scale = self.rho / (length + 1e-12)
        grad = p.at({k: x + scale * away[k] if k in away else x for k, x in p.w.items()}).grad
        return self.inner.update({k: grad[k] for k in u}, s, p.given(grad))

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return self.inner.read(w, s)

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews."""
        return self.inner.renew(s, p)

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.inner.units

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The inner part's."""
        return self.inner.moments(s, w)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """For the inner part."""
        return self.inner.adopt(s, live, w)

    def state_bytes(self, w: Params) -> int:
        """The inner part's."""
        return self.inner.state_bytes(w)


def sam(
    lr: float,
    rho: float = 0.05,
    beta: float = 0.9,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`Sam(Decay >> Momentum >> Lr)` (arXiv:2010.01412, algorithm 1 with momentum SGD)."""
    return Sam(Decay(decay) >> Momentum(beta) >> Lr(lr, schedule), rho)


def asam(
    lr: float,
    rho: float = 0.5,
    eta: float = 0.01,
    beta: float = 0.9,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`Sam(Decay >> Momentum >> Lr, adaptive=True)` (arXiv:2102.11600, algorithm 1 with momentum SGD).

    `eta` stabilizes every tensor as in the paper; the authors' code leaves it out for biases.
    """
    return Sam(Decay(decay) >> Momentum(beta) >> Lr(lr, schedule), rho, True, eta)
