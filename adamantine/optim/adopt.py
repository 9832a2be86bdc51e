"""ADOPT (Taniguchi et al., arXiv:2411.02853): Adam that converges with any `beta2`."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.kernel import Code, Fused
from adamantine.live import SECOND, Live, Moment, settled
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import TINY
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class PreviousRms(Part):
    """`u / max(sqrt(v), eps)` with `v` from the steps before, so that `v` does not depend on the gradient it divides.

    Afterwards `v <- beta v + (1 - beta) g^2` of the raw gradient. The first step sets `v = g^2` and hands on zero.
    With `clip` every coordinate is cut to `[-t^(1/4), t^(1/4)]`, `t` counting the steps before.
    """

    beta: float = 0.9999
    eps: float = 1e-6
    clip: bool = True
    symmetry: ClassVar[str] = "signed permutation"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.nonnegative(self, eps=self.eps)

    def init(self, w: Params) -> State:
        """`t = 0`, `v = 0`."""
        return 0, each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The direction over the root of the second moment so far."""
        t, before = s
        square = {k: p.grad[k].square() for k in u}
        if t == 0:
            return each(torch.zeros_like, u), (1, square)
        out = {k: x / before[k].sqrt().clamp_min(self.eps or torch.finfo(x.dtype).tiny) for k, x in u.items()}
        if self.clip:
            out = each(lambda x: x.clamp(-(t**0.25), t**0.25), out)
        return out, (t + 1, {k: torch.lerp(before[k], x, 1 - self.beta) for k, x in square.items()})

    def response(self, s: State, p: Point) -> Response:
        """One over the root that the next step divides by; what `clip` does is left out."""
        tiny = {k: self.eps or torch.finfo(x.dtype).tiny for k, x in s[1].items()}
        return response(p.w, {k: 1 / x.sqrt().clamp_min(tiny[k]) for k, x in s[1].items()})

    @property
    def units(self) -> tuple[str, ...]:
        """As for `Rms`."""
        return (SECOND,)

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`v`, which has no bias; nothing before the first step."""
        return (Moment(SECOND, s[1], s[0]),) if s[0] else ()

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """A second moment as it is, so that no first step is skipped."""
        m = live.claim(SECOND, w)
        return (m.t or settled(self.beta), each(torch.clone, m.value)) if m else s

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        t, v = s
        if t == 0:
            return Fused(Code("$v = g * g; u = 0;", (("v", "full"),)), (v,), (), (1, v))
        text = "const T under = sqrt($v); u /= under > $eps ? under : $eps; $v += $rest * (g * g - $v);"
        if self.clip:
            text += " u = u > $most ? $most : u < -$most ? -$most : u;"
        code = Code(text, (("v", "full"),), ("eps", "rest", "most"))
        return Fused(code, (v,), (self.eps or TINY, 1 - self.beta, t**0.25), (t + 1, v))

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights."""
        return size_bytes(w)


def adopt(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.9999,
    eps: float = 1e-6,
    decay: float = 0.0,
    clip: bool = True,
    schedule: Schedule = Constant(),
) -> Chain:
    """`PreviousRms >> Ema >> Decay >> Lr` (arXiv:2411.02853; with `clip` its algorithm 2), the average uncorrected.

    The first step only decays, as in the authors' code.
    """
    return PreviousRms(beta2, eps, clip) >> Ema(beta1, debias=False) >> Decay(decay) >> Lr(lr, schedule)
