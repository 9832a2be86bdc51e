"""RMSprop (Hinton 2012) and its centered form (Graves, arXiv:1308.0850), as `torch.optim.RMSprop` has them."""

from dataclasses import dataclass, replace
from typing import get_args

import torch

from adamantine.live import SECOND, Live, Moment, uncounted
from adamantine.optim import limits
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Momentum
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import (
    SYMMETRY,
    Rms,
    Shape,
    block_bytes,
    block_means,
    block_of,
    root,
    spread,
)
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params, each, size_bytes

MEAN = "mean of the gradient"


@dataclass(frozen=True)
class CenteredRms(Part):
    """Divide `u` by the running standard deviation of the raw gradient, `sqrt(v - mean of a^2) + eps`.

    `v <- beta v + (1 - beta) mean of g^2` and `a <- beta a + (1 - beta) g`, the means over the block as in
    `Rms`. Both start at zero and stay uncorrected. Cauchy-Schwarz keeps the difference from being negative,
    but for rounding, which is cut off at zero.
    """

    beta: float = 0.99
    eps: float = 1e-8
    shape: Shape = "full"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.nonnegative(self, eps=self.eps)
        limits.choice(self, get_args(Shape), shape=self.shape)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As for `Rms`: the norm of the average gradient over a block does not see a rotation inside it."""
        return SYMMETRY[self.shape]

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Unless one value is shared by all tensors."""
        return self.shape != "all"

    def init(self, w: Params) -> State:
        """`v = 0` a block, `a = 0` a coordinate."""
        zero = each(torch.zeros_like, w)
        return block_means(zero, self.shape), zero

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`u / (sqrt(v - mean of a^2) + eps)`."""
        square = block_means({k: p.grad[k].square() for k in u}, self.shape)
        v = {k: torch.lerp(s[0][k], x, 1 - self.beta) for k, x in square.items()}
        a = {k: torch.lerp(s[1][k], p.grad[k], 1 - self.beta) for k in u}
        mean = block_means(each(torch.square, a), self.shape)
        under = root({k: (x - mean[k]).clamp_min(0) for k, x in v.items()}, self.eps)
        return {k: x / under[block_of(k, self.shape)] for k, x in u.items()}, (v, a)

    def response(self, s: State, p: Point) -> Response:
        """One over the deviation."""
        mean = block_means(each(torch.square, s[1]), self.shape)
        under = root({k: (x - mean[k]).clamp_min(0) for k, x in s[0].items()}, self.eps)
        return response(p.w, {k: 1 / under[block_of(k, self.shape)] for k in p.w})

    @property
    def units(self) -> tuple[str, ...]:
        """As for `Rms`."""
        return (SECOND,)

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`v` in every coordinate of the block, and `a`; nothing while they are zero."""
        second = uncounted(SECOND, s[0])
        return (*(replace(m, value=spread(m.value, w, self.shape)) for m in second), *uncounted(MEAN, s[1]))

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """A second moment, and the mean of the gradient where there is one; without it, it starts at zero."""
        v, a = live.claim(SECOND, w), live.claim(MEAN, w)
        return block_means(v.value, self.shape) if v else s[0], a.value if v and a else s[1]

    def state_bytes(self, w: Params) -> int:
        """One value a block and one copy of the weights."""
        return block_bytes(w, self.shape) + size_bytes(w)


def rmsprop(
    lr: float,
    beta: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Rms >> Momentum >> Lr`, the second moment uncorrected, the momentum after the scaling."""
    scale: Part = CenteredRms(beta, eps) if centered else Rms(beta, eps, debias=False)
    return scale >> Momentum(momentum) >> Lr(lr, schedule) if momentum else scale >> Lr(lr, schedule)
