"""AdEMAMix (Pagliardini et al., arXiv:2409.03137): Adam with a second, much slower average of gradients."""

from dataclasses import dataclass
from math import exp, log
from typing import ClassVar

import torch

from adamantine.kernel import Code, Fused
from adamantine.live import FIRST, Live, Moment, counted, steps_and_bias, uncounted
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.schedule import Constant, Length, Schedule, Warmup, span
from adamantine.optim.second_moment import Rms
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response, averaged, response
from adamantine.tree import Params, each, size_bytes

SLOW = "slow average of the gradient"


@dataclass(frozen=True)
class TwoEmas(Part):
    """`m1 / (1 - beta1^t) + alpha_t m2`: a fast average of `u`, and a slow one that stays uncorrected.

    `m1` has the coefficient `beta1`, `m2` the coefficient `beta3_t`. During the first `warmup` steps (a float is a
    fraction of training) `alpha_t` rises in a straight line from 0 to `alpha`, and `1 / log(beta3_t)`, that is the
    half-life of the average, in a straight line from that of `beta1` to that of `beta3`.
    """

    beta1: float = 0.9
    beta3: float = 0.9999
    alpha: float = 5.0
    warmup: Length = 1.0
    symmetry: ClassVar[str] = "rotation"

    def __post_init__(self) -> None:
        limits.betas(self, beta1=self.beta1, beta3=self.beta3)
        limits.nonnegative(self, alpha=self.alpha)
        Warmup(self.warmup)  # says what is wrong with a length

    def init(self, w: Params) -> State:
        """`t = 0`, `m1 = 0`, `m2 = 0`."""
        return 0, each(torch.zeros_like, w), each(torch.zeros_like, w)

    def _now(self, p: Point) -> tuple[float, float]:
        """`alpha_t` and `beta3_t`."""
        length = span(self.warmup, p.steps)
        if p.step + 1 >= length:
            return self.alpha, self.beta3
        x = (p.step + 1) / length
        start, end = (1 / log(b) if b else 0.0 for b in (self.beta1, self.beta3))
        middle = (1 - x) * start + x * end
        return x * self.alpha, min(exp(1 / middle), self.beta3) if middle else 0.0

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The sum of the two averages."""
        t, (alpha, beta3) = s[0] + 1, self._now(p)
        m1 = {k: torch.lerp(s[1][k], x, 1 - self.beta1) for k, x in u.items()}
        m2 = {k: torch.lerp(s[2][k], x, 1 - beta3) for k, x in u.items()}
        return {k: torch.add(x / (1 - self.beta1**t), m2[k], alpha=alpha) for k, x in m1.items()}, (t, m1, m2)

    def response(self, s: State, p: Point) -> Response:
        """The gains of both averages together, with `alpha` and `beta3` as they are now."""
        (t, m1, m2), (alpha, beta3) = s, self._now(p)
        near = 1 / (1 - self.beta1**t)
        out = {k: near * x + alpha * m2[k] for k, x in m1.items()}
        return response(p.w, flip=near * averaged(self.beta1) + alpha * averaged(beta3), out=out)

    @property
    def units(self) -> tuple[str, ...]:
        """A sum of averages of directions is a direction."""
        return ()

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`m1 / (1 - beta1^t)`, and `m2`; nothing before the first step."""
        return (*counted(FIRST, s[:2], self.beta1), *uncounted(SLOW, s[2]))

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """A first moment, and the slow one where there is one; without it, it starts at zero."""
        fast, slow = live.claim(FIRST, w), live.claim(SLOW, w)
        m2 = each(torch.clone, slow.value) if slow else s[2]
        if fast is None:
            return *s[:2], m2
        t, held = steps_and_bias(fast, self.beta1)
        return t, each(lambda x: x * held, fast.value), m2

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        t, (alpha, beta3) = s[0] + 1, self._now(p)
        text = "$m += $near * (u - $m); $slow += $far * (u - $slow); u = $m * $a + $slow * $alpha;"
        numbers = (1 - self.beta1, 1 - beta3, 1 / (1 - self.beta1**t), alpha)
        code = Code(text, (("m", "full"), ("slow", "full")), ("near", "far", "a", "alpha"))
        return Fused(code, s[1:], numbers, (t, *s[1:]))

    def state_bytes(self, w: Params) -> int:
        """Two copies of the weights."""
        return 2 * size_bytes(w)


def ademamix(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    beta3: float = 0.9999,
    alpha: float = 5.0,
    eps: float = 1e-8,
    decay: float = 0.0,
    warmup: Length = 1.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`TwoEmas >> Rms >> Decay >> Lr` (arXiv:2409.03137, algorithm 1).

    As in the paper `alpha` and `beta3` warm up over all of training, where the authors' code leaves both constant
    unless told otherwise: `warmup=0`.
    """
    return TwoEmas(beta1, beta3, alpha, warmup) >> Rms(beta2, eps) >> Decay(decay) >> Lr(lr, schedule)
