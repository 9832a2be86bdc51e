"""Momentum corrected for staleness (Bengio et al., arXiv:2106.03955): averaged gradients brought to where we stand."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.optim import limits
from adamantine.optim.lr import Lr
from adamantine.optim.predictions import gradient
from adamantine.optim.random_signs import signs
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class CorrectedEma(Part):
    """`m <- beta (m + Z d) + (1 - beta) u`, passed on over `1 - beta^t`: the average of gradients as they would be now.

    `d` is how far the weights have come since the last step, and `Z <- beta Z + (1 - beta) z` the average of the
    diagonals `z` of the gradients' derivatives: to first order `g_i(w) = g_i(w_i) + z_i (w - w_i)`, exactly where
    gradients are linear and their derivatives diagonal. `z = r * (g(w + e r) - g(w)) / e`, with random signs `r` and
    `e = step * (1 + rms of w)`, for one gradient more a step: unbiased, and noisy by all that is off the
    diagonal. It is a difference of gradients and no Hessian product, so that a target which a task computes from the
    weights moves with them, as in TD learning. It expects the gradient to come in; at a renewal all of it stays.

    What it can correct is little where curvature is off the diagonal: along gradient descent in three networks of 60
    to 768 weights the distance from the true average was 0.78 to 1.01 of the uncorrected one's.
    """

    beta: float = 0.9
    step: float = 1e-3
    gradients: ClassVar[int] = 1
    local: ClassVar[bool] = False
    symmetry: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.positive(self, step=self.step)

    def init(self, w: Params) -> State:
        """`t = 0`, `m = Z = 0`, and the weights."""
        return 0, each(torch.zeros_like, w), each(torch.zeros_like, w), each(torch.clone, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The corrected average over its bias."""
        (t, m, curvature, last), b = s, self.beta
        m = {k: b * (m[k] + curvature[k] * (p.w[k] - last[k])) + (1 - b) * x for k, x in u.items()}
        found = self._diagonal(u, p)
        curvature = {k: torch.lerp(curvature[k], x, 1 - b) for k, x in found.items()}
        here = {k: p.w[k].clone() for k in u}
        return {k: x / (1 - b ** (t + 1)) for k, x in m.items()}, (t + 1, m, curvature, here)

    def _diagonal(self, u: Params, p: Point) -> Params:
        r = {k: signs(p.w[k], p, f"corrected/{k}") for k in u}
        count = sum(x.numel() for x in r.values())
        square = torch.stack([p.w[k].square().sum() for k in u]).sum() / count
        e = self.step * (1 + square.sqrt())
        there = gradient(p, {k: x + e * r[k] if k in r else x for k, x in p.w.items()})
        return {k: x * (there[k] - p.grad[k]) / e for k, x in r.items()}

    def state_bytes(self, w: Params) -> int:
        """Three copies of the weights."""
        return 3 * size_bytes(w)


def corrected_sgd(lr: float, beta: float = 0.9, step: float = 1e-3, schedule: Schedule = Constant()) -> Part:
    """`CorrectedEma >> Lr`: gradient descent with corrected momentum (arXiv:2106.03955), its diagonal form.

    The paper derives the derivative of the gradient for TD errors by hand; here it is estimated from any task.
    """
    return CorrectedEma(beta, step) >> Lr(lr, schedule)


def corrected_adam(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    step: float = 1e-3,
    schedule: Schedule = Constant(),
) -> Part:
    """`CorrectedEma >> Rms >> Lr`: Adam with corrected momentum (arXiv:2106.03955), its diagonal form."""
    return CorrectedEma(beta1, step) >> Rms(beta2, eps) >> Lr(lr, schedule)
