"""MARS (Yuan et al., arXiv:2411.10438): variance reduction by the change of the gradient since the last step."""

from dataclasses import dataclass

import torch

from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.symmetry import GROUPS, holds, symmetry_of
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class Corrected(Part):
    """Run `inner` on `c = u + gamma beta / (1 - beta) (u - old)`, each tensor of `c` cut to the length `norm`.

    A wrapper, because parts such as `Rms` look at the raw gradient: `c` stands in for both. `beta` is the coefficient
    of the momentum that follows. `old` is the direction of the step before, on the batch of then. With `exact` it is
    the gradient at the weights of the step before on the batch of now, for one gradient more a step; behind a `Route`
    only the weights of its side are put back. The first step has no step before, and no correction.
    """

    inner: Part = Ema(0.95) >> Rms(0.99)
    gamma: float = 0.025
    beta: float = 0.95
    norm: float = 1.0
    exact: bool = False

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        limits.betas(self, beta=self.beta)
        limits.nonnegative(self, gamma=self.gamma)
        limits.positive(self, norm=self.norm)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's within rotations of each tensor, which keep its length."""
        return symmetry_of(holds(self.inner.symmetry) & GROUPS["layer rotation"])

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's, and the one at the weights before."""
        return self.inner.gradients + self.exact

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part is; a gradient at other weights is not."""
        return self.inner.local and not self.exact

    def init(self, w: Params) -> State:
        """`t = 0`; the direction, or the weights, of the step before; the inner state."""
        return 0, each(torch.zeros_like, w), self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """What the inner part makes of the corrected direction."""
        t, kept, inner = s
        old = kept
        if t == 0:
            old = u
        elif self.exact:
            old = p.at({**p.w, **kept}).grad
        scale = self.gamma * self.beta / (1 - self.beta)
        c = {k: torch.add(x, x - old[k], alpha=scale) for k, x in u.items()}
        c = {k: x / (torch.linalg.vector_norm(x) / self.norm).clamp_min(1) for k, x in c.items()}
        kept = {k: (p.w[k] if self.exact else x).clone() for k, x in u.items()}
        out, inner = self.inner.update(c, inner, p.given({**p.grad, **c}))
        return out, (t + 1, kept, inner)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return self.inner.read(w, s[2])

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews; what is kept of the step before stays."""
        return *s[:2], self.inner.renew(s[2], p)

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.inner.units

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The inner part's."""
        return self.inner.moments(s[2], w)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """For the inner part; the step before stays unknown."""
        return *s[:2], self.inner.adopt(s[2], live, w)

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights, and the inner state."""
        return size_bytes(w) + self.inner.state_bytes(w)


def mars(
    lr: float,
    beta1: float = 0.95,
    beta2: float = 0.99,
    eps: float = 1e-8,
    decay: float = 0.0,
    gamma: float = 0.025,
    exact: bool = False,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Corrected(Ema >> Rms) >> Decay >> Lr`: MARS-AdamW (arXiv:2411.10438, algorithm 2).

    As in the paper all tensors are treated alike and the first step has no correction; the authors' code takes the
    gradient before the first as zero, and unless told otherwise leaves vectors to AdamW.
    """
    return Corrected(Ema(beta1) >> Rms(beta2, eps), gamma, beta1, 1.0, exact) >> Decay(decay) >> Lr(lr, schedule)
