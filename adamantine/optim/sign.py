"""Sign descent and Signum (Bernstein et al., arXiv:1802.04434)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.kernel import Code, Fused
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params, each


@dataclass(frozen=True)
class Sign(Part):
    """The sign of every coordinate; zero stays zero."""

    symmetry: ClassVar[str] = "signed permutation"

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`sign(u)`."""
        return each(torch.sign, u), s

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        return Fused(Code("u = (u > 0) - (u < 0);"), state=s)


def signum(lr: float, beta: float = 0.9, decay: float = 0.0, schedule: Schedule = Constant()) -> Part:
    """`Ema >> Sign >> Decay >> Lr`; the average needs no correction, which would not change its sign."""
    return Ema(beta, debias=False) >> Sign() >> Decay(decay) >> Lr(lr, schedule)
