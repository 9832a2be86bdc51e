"""AMSGrad (Reddi et al., arXiv:1904.09237): Adam whose second moment never falls."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.kernel import Code, Fused
from adamantine.live import SECOND, Live, Moment, counted, steps_and_bias
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import TINY, root
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class MaxRms(Part):
    """Divide `u` by `sqrt(top) + eps`, where `top <- max(top, v)` and `v <- beta v + (1 - beta) g^2`.

    `g` is the raw gradient. With `debias` the root is taken of `top / (1 - beta^t)`: the maximum is of the
    uncorrected averages, so that early ones, which the correction would enlarge, do not stay for ever.
    """

    beta: float = 0.999
    eps: float = 1e-8
    debias: bool = True
    symmetry: ClassVar[str] = "signed permutation"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.nonnegative(self, eps=self.eps)

    def init(self, w: Params) -> State:
        """`t = 0`, `v = 0`, `top = 0`."""
        return 0, each(torch.zeros_like, w), each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`u / (sqrt(top / (1 - beta^t)) + eps)`."""
        t = s[0] + 1
        v = {k: torch.lerp(s[1][k], p.grad[k].square(), 1 - self.beta) for k in u}
        top = {k: torch.maximum(s[2][k], x) for k, x in v.items()}
        under = root(top, self.eps, (1 - self.beta**t) ** -0.5 if self.debias else 1.0)
        return {k: x / under[k] for k, x in u.items()}, (t, v, top)

    def response(self, s: State, p: Point) -> Response:
        """One over the root."""
        under = root(s[2], self.eps, (1 - self.beta ** s[0]) ** -0.5 if self.debias else 1.0)
        return response(p.w, each(torch.reciprocal, under))

    @property
    def units(self) -> tuple[str, ...]:
        """As for `Rms`."""
        return (SECOND,)

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`v / (1 - beta^t)`; nothing before the first step."""
        return counted(SECOND, s[:2], self.beta)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """`(1 - beta^t)` times the second moment, which is the largest so far."""
        m = live.claim(SECOND, w)
        if m is None:
            return s
        t, held = steps_and_bias(m, self.beta)
        v = each(lambda x: x * held, m.value)
        return t, v, v

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        t = s[0] + 1
        text = "$v += $rest * (g * g - $v); $top = $v > $top ? $v : $top; u /= sqrt($top) * $scale + $eps;"
        numbers = (1 - self.beta, (1 - self.beta**t) ** -0.5 if self.debias else 1.0, self.eps or TINY)
        code = Code(text, (("v", "full"), ("top", "full")), ("rest", "scale", "eps"))
        return Fused(code, s[1:], numbers, (t, *s[1:]))

    def state_bytes(self, w: Params) -> int:
        """Two copies of the weights."""
        return 2 * size_bytes(w)


def amsgrad(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Ema >> MaxRms >> Decay >> Lr` (arXiv:1904.09237), with decoupled decay.

    The paper corrects no bias; here both moments are corrected, as in `torch.optim.AdamW(amsgrad=True)`, so that
    rates carry over from Adam.
    """
    return Ema(beta1) >> MaxRms(beta2, eps) >> Decay(decay) >> Lr(lr, schedule)
