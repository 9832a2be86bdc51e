"""SGD-SaI: momentum at a rate that each tensor gets from its first gradient (Xu et al., arXiv:2412.11768)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params


@dataclass(frozen=True)
class FirstSnr(Part):
    """`|g| / (std(g) + eps) u`, each tensor by itself, with `g` the raw gradient of the first step and no later one.

    The deviation is about the mean over the coordinates, with `n - 1` in the denominator; where there is one coordinate
    it says nothing, and the factor is 1.
    """

    eps: float = 1e-8
    symmetry: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        limits.positive(self, eps=self.eps)

    def init(self, w: Params) -> State:
        """`t = 0`, and a factor of 0 for every tensor."""
        return 0, {k: x.new_zeros(()) for k, x in w.items()}

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The scaled direction."""
        t, factor = s
        factor = factor if t else {k: self._factor(p.grad[k]) for k in u}
        return {k: factor[k] * x for k, x in u.items()}, (t + 1, factor)

    def response(self, s: State, p: Point) -> Response:
        """The factor."""
        return response(p.w, s[1])

    def _factor(self, g: Tensor) -> Tensor:
        return g.norm() / (g.std() + self.eps) if g.numel() > 1 else torch.ones_like(g.reshape(()))

    def state_bytes(self, w: Params) -> int:
        """One number a tensor."""
        return sum(x.element_size() for x in w.values())


def sgd_sai(
    lr: float,
    momentum: float = 0.9,
    eps: float = 1e-8,
    decay: float = 0.01,
    schedule: Schedule = Constant(),
) -> Part:
    """`FirstSnr >> Ema >> Decay >> Lr` (arXiv:2412.11768).

    The average starts at zero, as in the paper; the authors' code starts it at the first gradient. The factor of a
    single number is 1 here, where that code divides by `eps` alone.
    """
    return FirstSnr(eps) >> Ema(momentum, debias=False) >> Decay(decay) >> Lr(lr, schedule)
