"""Lion (Chen et al., arXiv:2302.06675): the sign of a short average of gradients, remembered by a long one."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.kernel import Code, Fused
from adamantine.live import FIRST, Live, Moment, uncounted
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class Lion(Part):
    """`sign(beta1 m + (1 - beta1) u)`, after which `m <- beta2 m + (1 - beta2) u`."""

    beta1: float = 0.9
    beta2: float = 0.99
    symmetry: ClassVar[str] = "signed permutation"

    def __post_init__(self) -> None:
        limits.betas(self, beta1=self.beta1, beta2=self.beta2)

    def init(self, w: Params) -> State:
        """`m = 0`."""
        return each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The sign of the interpolation."""
        out = {k: torch.lerp(s[k], x, 1 - self.beta1).sign_() for k, x in u.items()}
        return out, {k: torch.lerp(s[k], x, 1 - self.beta2) for k, x in u.items()}

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        text = "const T x = $m + $near * (u - $m); $m += $far * (u - $m); u = (x > 0) - (x < 0);"
        return Fused(Code(text, (("m", "full"),), ("near", "far")), (s,), (1 - self.beta1, 1 - self.beta2), s)

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`m`, steps uncounted; nothing while it is zero."""
        return uncounted(FIRST, s)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """A first moment as it is."""
        m = live.claim(FIRST, w)
        return each(torch.clone, m.value) if m else s

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights."""
        return size_bytes(w)


def lion(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`Lion >> Decay >> Lr`, the decay decoupled as in the paper."""
    return Lion(beta1, beta2) >> Decay(decay) >> Lr(lr, schedule)
