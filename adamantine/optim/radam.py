"""RAdam (Liu et al., arXiv:1908.03265): Adam whose adaptive step waits until its second moment can be trusted."""

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import torch

from adamantine.kernel import Code, Fused
from adamantine.live import SECOND, Live, Moment, counted, taken
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import TINY, root
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class RectifiedRms(Part):
    """`r_t sqrt(1 - beta^t) u / (sqrt(v) + eps)` once `rho_t > threshold`, until then `u`.

    `v <- beta v + (1 - beta) g^2` of the raw gradient. With `rho = 2 / (1 - beta) - 1` and `rho_t = rho -
    2 t beta^t / (1 - beta^t)`, the degrees of freedom of the average, `r_t^2 = (rho_t - 4) (rho_t - 2) rho /
    ((rho - 4) (rho - 2) rho_t)`.
    """

    beta: float = 0.999
    eps: float = 1e-8
    threshold: float = 5.0
    symmetry: ClassVar[str] = "signed permutation"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.nonnegative(self, eps=self.eps)
        if not 4 <= self.threshold < float("inf"):
            raise ValueError(
                f"RectifiedRms: threshold = {self.threshold!r} must be at least 4, below which the variance that is "
                "rectified is infinite; give 4, as the paper, or 5, as the authors' code."
            )

    def init(self, w: Params) -> State:
        """`t = 0`, `v = 0`."""
        return 0, each(torch.zeros_like, w)

    def _factor(self, t: int) -> float | None:
        """`r_t sqrt(1 - beta^t)`; None while the step is not adaptive."""
        correction, most = 1 - self.beta**t, 2 / (1 - self.beta) - 1
        rho = most - 2 * t * self.beta**t / correction
        if rho <= self.threshold:
            return None
        return sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho) * correction)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The direction, scaled once it may be."""
        t = s[0] + 1
        v = {k: torch.lerp(s[1][k], p.grad[k].square(), 1 - self.beta) for k in u}
        factor = self._factor(t)
        if factor is None:
            return u, (t, v)
        under = root(v, self.eps)
        return {k: x * factor / under[k] for k, x in u.items()}, (t, v)

    def response(self, s: State, p: Point) -> Response:
        """The factor over the root, once it is used; until then 1."""
        factor = self._factor(s[0])
        return response(p.w, 1.0 if factor is None else {k: factor / x for k, x in root(s[1], self.eps).items()})

    @property
    def units(self) -> tuple[str, ...]:
        """As for `Rms`."""
        return (SECOND,)

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`v / (1 - beta^t)`; nothing before the first step."""
        return counted(SECOND, s, self.beta)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """`(1 - beta^t)` times the second moment, and its steps."""
        return taken(SECOND, s, self.beta, live, w)

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        t = s[0] + 1
        factor = self._factor(t)
        text = "$v += $rest * (g * g - $v);" + ("" if factor is None else " u *= $factor / (sqrt($v) + $eps);")
        code = Code(text, (("v", "full"),), ("rest", "factor", "eps"))
        return Fused(code, (s[1],), (1 - self.beta, factor or 1.0, self.eps or TINY), (t, s[1]))

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights."""
        return size_bytes(w)


def radam(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    threshold: float = 5.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Ema >> RectifiedRms >> Decay >> Lr` (arXiv:1908.03265), with decoupled decay.

    The paper turns adaptive above 4 degrees of freedom and has no `eps`; here it is 5, with `eps` added to the
    uncorrected root, as in `torch.optim.RAdam`, which follows the authors' code.
    """
    return Ema(beta1) >> RectifiedRms(beta2, eps, threshold) >> Decay(decay) >> Lr(lr, schedule)
