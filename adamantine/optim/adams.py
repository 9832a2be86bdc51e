"""AdamS (Zhang et al., arXiv:2505.16363): the momentum stands in for Adam's second moment.

Not the AdamS of Xie et al. (arXiv:2011.11152), which changes the decay.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.kernel import Code, Fused
from adamantine.live import FIRST, Live, Moment, uncounted
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import TINY, root
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response, averaged, response
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class MomentumRms(Part):
    """`m / (sqrt(beta2 m_old^2 + (1 - beta2) u^2) + eps)`, with `m = beta1 m_old + (1 - beta1) u`."""

    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    symmetry: ClassVar[str] = "signed permutation"

    def __post_init__(self) -> None:
        limits.betas(self, beta1=self.beta1, beta2=self.beta2)
        limits.nonnegative(self, eps=self.eps)

    def init(self, w: Params) -> State:
        """`m = 0`."""
        return each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The momentum over the root."""
        m = {k: torch.lerp(s[k], x, 1 - self.beta1) for k, x in u.items()}
        under = root({k: torch.lerp(s[k].square(), x.square(), 1 - self.beta2) for k, x in u.items()}, self.eps)
        return {k: x / under[k] for k, x in m.items()}, m

    def response(self, s: State, p: Point) -> Response | None:
        """The average's, over the root as it was; None where `beta1 = 0` keeps nothing of the average before."""
        if not self.beta1:
            return None
        before = {k: (m - (1 - self.beta1) * p.grad[k]) / self.beta1 for k, m in s.items()}
        v = {k: torch.lerp(x.square(), p.grad[k].square(), 1 - self.beta2) for k, x in before.items()}
        under = root(v, self.eps)
        scale = {k: 1 / x for k, x in under.items()}
        return response(p.w, scale, averaged(self.beta1), out={k: x * scale[k] for k, x in s.items()})

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`m`, steps uncounted; nothing while it is zero."""
        return uncounted(FIRST, s)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """A first moment as it is."""
        m = live.claim(FIRST, w)
        return each(torch.clone, m.value) if m else s

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        text = "const T v = $m * $m; $m += $near * (u - $m); u = $m / (sqrt(v + $far * (u * u - v)) + $eps);"
        numbers = (1 - self.beta1, 1 - self.beta2, self.eps or TINY)
        return Fused(Code(text, (("m", "full"),), ("near", "far", "eps")), (s,), numbers, s)

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights."""
        return size_bytes(w)


def adams(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.95,
    eps: float = 1e-8,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`MomentumRms >> Decay >> Lr` (arXiv:2505.16363), without correction of bias."""
    return MomentumRms(beta1, beta2, eps) >> Decay(decay) >> Lr(lr, schedule)
