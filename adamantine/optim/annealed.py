"""RAD (Lyu et al., arXiv:2412.02291): Adam whose floor under the second moment grows until the end of training."""

from dataclasses import dataclass
from math import exp
from typing import ClassVar

import torch

from adamantine.live import SECOND, Live, Moment, counted, taken
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params, each, size_bytes

FLOOR = 1e-16


@dataclass(frozen=True)
class AnnealedRms(Part):
    """`u sqrt(1 - beta^t) / sqrt(delta^2 v + zeta)`, with `v <- beta v + (1 - beta) g^2` and `zeta` growing to 1.

    `zeta = max(exp(growth (k / K - 1)), 1e-16)` at step `k` of `K`, counted from 1: the symplectic factor, inside the
    root and beside the uncorrected `v`. Where `delta^2 v` falls below `zeta`, as small gradients do near the end, the
    step is that of gradient descent and shorter than Adam's: an implicit late decay of the rate, for which a fair
    comparison with Adam has to allow. With `delta = 1` and `zeta` at its floor it is Adam.
    """

    beta: float = 0.999
    delta: float = 1.0
    growth: float = 40.0
    symmetry: ClassVar[str] = "signed permutation"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.nonnegative(self, delta=self.delta, growth=self.growth)

    def init(self, w: Params) -> State:
        """`t = 0`, `v = 0`."""
        return 0, each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The direction over the root."""
        t = s[0] + 1
        v = {k: torch.lerp(s[1][k], p.grad[k].square(), 1 - self.beta) for k in u}
        scale = self._scale(v, t, p)
        return {k: x * scale[k] for k, x in u.items()}, (t, v)

    def _scale(self, v: Params, t: int, p: Point) -> Params:
        zeta, bias = self.zeta(p.step, p.steps), (1 - self.beta**t) ** 0.5
        return {k: bias / (self.delta**2 * x + zeta).sqrt() for k, x in v.items()}

    def zeta(self, step: int, steps: int) -> float:
        """The floor under the second moment at a step counted from 0."""
        return max(exp(self.growth * ((step + 1) / steps - 1)), FLOOR)

    def response(self, s: State, p: Point) -> Response:
        """One over the root."""
        return response(p.w, self._scale(s[1], s[0], p))

    @property
    def units(self) -> tuple[str, ...]:
        """Divided by the root of a second moment."""
        return (SECOND,)

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`v / (1 - beta^t)`; nothing before the first step."""
        return counted(SECOND, s, self.beta)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """The second moment, and the steps go on being counted."""
        return taken(SECOND, s, self.beta, live, w)

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights."""
        return size_bytes(w)


def rad(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    delta: float = 1.0,
    growth: float = 40.0,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`Ema >> AnnealedRms >> Decay >> Lr`: RAD (arXiv:2412.02291) of first order, with the annealing made for RL.

    Followed is the authors' code, where the bias of the second moment is corrected outside of the root.
    """
    return Ema(beta1) >> AnnealedRms(beta2, delta, growth) >> Decay(decay) >> Lr(lr, schedule)
