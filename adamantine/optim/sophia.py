"""Sophia-H (Liu et al., arXiv:2305.14342): steps scaled by the Hessian's diagonal, each coordinate clipped.

Sophia-G, the paper's other estimator, is the gradient on labels drawn from the model's own prediction. A task gives a
loss and no predictions, so it cannot be had here; taking the true labels in their place, as some ports do, would be
the empirical Fisher and another method.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.random_signs import signs
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class Sophia(Part):
    """`clip(u / max(gamma h, eps), -1, 1)`, `h` a running average of Hutchinson's estimate of the Hessian's diagonal.

    Every `period` steps, from the first, `h <- beta h + (1 - beta) v * (H v)` with independent signs `v`; a coordinate
    of negative curvature so steps by its sign. Signed permutations are symmetries of its law: the drawn signs do not
    turn with the weights.
    """

    beta: float = 0.99
    gamma: float = 0.01
    eps: float = 1e-12
    period: int = 10
    symmetry: ClassVar[str] = "signed permutation"
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.positive(self, gamma=self.gamma, eps=self.eps)
        limits.whole(self, period=self.period)

    @property
    def gradients(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A Hessian-vector product every `period` steps."""
        return 2 / self.period

    def init(self, w: Params) -> State:
        """`t = 0`, `h = 0`."""
        return 0, each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The clipped step."""
        t, h = s
        if t % self.period == 0:
            v = {k: signs(x, p, f"sophia/{k}") if k in u else torch.zeros_like(x) for k, x in p.w.items()}
            product = p.hvp(v)
            h = {k: torch.lerp(h[k], v[k] * product[k], 1 - self.beta) for k in u}
        out = {k: (x / (self.gamma * h[k]).clamp_min(self.eps)).clamp(-1, 1) for k, x in u.items()}
        return out, (t + 1, h)

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights."""
        return size_bytes(w)


def sophia(
    lr: float,
    beta1: float = 0.96,
    beta2: float = 0.99,
    gamma: float = 0.01,
    eps: float = 1e-12,
    period: int = 10,
    decay: float = 0.1,
    schedule: Schedule = Constant(),
) -> Part:
    """`Ema(debias=False) >> Sophia >> Decay >> Lr`: Sophia-H (arXiv:2305.14342, algorithm 3).

    Followed is the paper, since the authors publish code for Sophia-G only.
    """
    return Ema(beta1, debias=False) >> Sophia(beta2, gamma, eps, period) >> Decay(decay) >> Lr(lr, schedule)
