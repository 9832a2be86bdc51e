"""Utility-based perturbed gradient descent (Elsayed & Mahmood, arXiv:2404.00781): what is useful is left alone."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine import tree
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class Utility(Part):
    """`(1 - s) (u + sigma n)`, with normal noise `n` and `s = sigmoid(U / max U)`.

    `U`, the utility of a weight, is the debiased average, by `beta`, of `-g w`: to first order what the loss would gain
    if it were zero. The maximum is over all weights; where it is not positive, `s = 1 / 2`.
    """

    beta: float = 0.999
    sigma: float = 1e-3
    symmetry: ClassVar[str] = "none"
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.nonnegative(self, sigma=self.sigma)

    def init(self, w: Params) -> State:
        """`t = 0` and utilities of zero."""
        return 0, tree.each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The direction where weights are of no use, little of it where they are."""
        t, average = s[0] + 1, {k: self.beta * m - (1 - self.beta) * p.grad[k] * p.w[k] for k, m in s[1].items()}
        most = torch.stack([m.max() for m in average.values()]).max()
        scale = torch.where(most > 0, most, torch.ones_like(most))
        out = {}
        for k, x in u.items():
            noise = torch.randn(x.shape, generator=p.rng(f"utility/{k}"), dtype=x.dtype).to(x.device)
            useful = torch.where(most > 0, torch.sigmoid(average[k] / scale), torch.full_like(x, 0.5))
            out[k] = (1 - useful) * (x + self.sigma * noise)
        return out, (t, average)

    def state_bytes(self, w: Params) -> int:
        """One number a weight."""
        return tree.size_bytes(w)


def upgd(
    lr: float, beta: float = 0.999, sigma: float = 1e-3, decay: float = 0.0, schedule: Schedule = Constant()
) -> Part:
    """`Utility >> Decay >> Lr` (arXiv:2404.00781)."""
    return Utility(beta, sigma) >> Decay(decay) >> Lr(lr, schedule)


def adaptive_upgd(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    beta: float = 0.999,
    sigma: float = 1e-3,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`Ema >> Rms >> Utility >> Decay >> Lr`: the same with Adam's direction (arXiv:2404.00781)."""
    return Ema(beta1) >> Rms(beta2, eps) >> Utility(beta, sigma) >> Decay(decay) >> Lr(lr, schedule)
