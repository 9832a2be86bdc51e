"""NAdam (Dozat 2016): Adam with Nesterov's look-ahead and a momentum coefficient that warms up."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.kernel import Code, Fused
from adamantine.live import FIRST, Live, Moment, counted, steps_and_bias
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, averaged, response
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class WarmNesterov(Part):
    """`(1 - mu_t) / (1 - P_t) u + mu_(t+1) / (1 - P_(t+1)) m`, where `m <- beta m + (1 - beta) u`.

    The coefficient `mu_t = beta (1 - 0.96^(t rate) / 2)` rises from about half of `beta` to `beta`, and
    `P_t` is the product of `mu_1 ... mu_t`; `rate` is `momentum_decay` of `torch.optim.NAdam`.
    """

    beta: float = 0.9
    rate: float = 4e-3
    symmetry: ClassVar[str] = "rotation"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.nonnegative(self, rate=self.rate)

    def init(self, w: Params) -> State:
        """`t = 0`, `P = 1`, `m = 0`."""
        return 0, 1.0, each(torch.zeros_like, w)

    def _mu(self, t: int) -> float:
        return self.beta * (1 - 0.5 * 0.96 ** (t * self.rate))

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The weighted sum of the direction and its average."""
        t = s[0] + 1
        now, ahead = self._mu(t), self._mu(t + 1)
        product = s[1] * now
        m = {k: torch.lerp(s[2][k], x, 1 - self.beta) for k, x in u.items()}
        a, b = (1 - now) / (1 - product), ahead / (1 - product * ahead)
        return {k: torch.add(x * a, m[k], alpha=b) for k, x in u.items()}, (t, product, m)

    def response(self, s: State, p: Point) -> Response:
        """The gain of the weighted sum, with the weights as they are now."""
        t, product, m = s
        now, ahead = self._mu(t), self._mu(t + 1)
        a, b = (1 - now) / (1 - product), ahead / (1 - product * ahead)
        out = {k: a * p.grad[k] + b * x for k, x in m.items()}
        return response(p.w, flip=a + b * averaged(self.beta), out=out)

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        t = s[0] + 1
        now, ahead = self._mu(t), self._mu(t + 1)
        product = s[1] * now
        numbers = (1 - self.beta, (1 - now) / (1 - product), ahead / (1 - product * ahead))
        code = Code("$m += $rest * (u - $m); u = u * $a + $m * $b;", (("m", "full"),), ("rest", "a", "b"))
        return Fused(code, (s[2],), numbers, (t, product, s[2]))

    @property
    def units(self) -> tuple[str, ...]:
        """An average of directions is a direction."""
        return ()

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`m / (1 - beta^t)`; nothing before the first step."""
        return counted(FIRST, (s[0], s[2]), self.beta)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """The steps go on being counted, and with them `P`."""
        m = live.claim(FIRST, w)
        if m is None:
            return s
        t, held = steps_and_bias(m, self.beta)
        return t, math.prod(self._mu(i) for i in range(1, t + 1)), each(lambda x: x * held, m.value)

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights."""
        return size_bytes(w)


def nadam(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    rate: float = 4e-3,
    schedule: Schedule = Constant(),
) -> Part:
    """`WarmNesterov >> Rms >> Decay >> Lr`; `torch.optim.NAdam`, with decoupled decay."""
    return WarmNesterov(beta1, rate) >> Rms(beta2, eps) >> Decay(decay) >> Lr(lr, schedule)
