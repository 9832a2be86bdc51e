"""Layer-wise trust ratios: LARS (You et al., arXiv:1708.03888) and LAMB (You et al., arXiv:1904.00962)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.kernel import Code, Fused, Mean
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema, Momentum
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params


@dataclass(frozen=True)
class Trust(Part):
    """`coefficient |w| / (|u| + decay |w|) (u + decay w)`, with the norms of each tensor by itself.

    A step is then about as long as the same fraction of every tensor. The ratio is 1 where `w` or `u` is zero.
    """

    coefficient: float = 1.0
    decay: float = 0.0
    symmetry: ClassVar[str] = "layer rotation"

    def __post_init__(self) -> None:
        limits.positive(self, coefficient=self.coefficient)
        limits.nonnegative(self, decay=self.decay)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The scaled direction."""
        return {k: self._ratio(x, p.w[k]) * torch.add(x, p.w[k], alpha=self.decay) for k, x in u.items()}, s

    def _ratio(self, u: Tensor, w: Tensor) -> Tensor:
        weight, length = w.norm(), u.norm()
        ratio = self.coefficient * weight / (length + self.decay * weight)
        return torch.where((weight > 0) & (length > 0), ratio, 1.0)

    def response(self, s: State, p: Point) -> Response:
        """The ratios of this step, held still."""
        ratio = {k: self._ratio(p.grad[k], x) for k, x in p.w.items()}
        return response(p.w, ratio, pull={k: self.decay * x for k, x in ratio.items()})

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`; roots of means stand for norms, whose ratio is theirs."""
        weight = Mean("tensor", "$weight = sqrt(mean);", "x = w * w;", "weight")
        block = (
            "const T a = $weight, b = sqrt(mean); $ratio = a > 0 && b > 0 ? $coefficient * a / (b + $decay * a) : 1;"
        )
        ratio = Mean("tensor", block, "x = u * u;", "ratio")
        code = Code("u = $ratio * (u + $decay * w);", (), ("coefficient", "decay"), (weight, ratio))
        return Fused(code, (), (self.coefficient, self.decay), s)


def lamb(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-6,
    decay: float = 0.01,
    schedule: Schedule = Constant(),
) -> Part:
    """`Ema >> Rms >> Decay >> Trust >> Lr` (arXiv:1904.00962, algorithm 2, with its `phi` the identity).

    Every tensor is scaled, as in the paper; the authors' code leaves out biases and normalizations.
    """
    return Ema(beta1) >> Rms(beta2, eps) >> Decay(decay) >> Trust() >> Lr(lr, schedule)


def lars(
    lr: float = 1.0,
    beta: float = 0.9,
    coefficient: float = 0.001,
    decay: float = 1e-4,
    schedule: Schedule = Constant(),
) -> Part:
    """`Trust >> Lr >> Momentum` (arXiv:1708.03888, algorithm 1): the rate is inside the momentum, as in the paper."""
    return Trust(coefficient, decay) >> Lr(lr, schedule) >> Momentum(beta)
