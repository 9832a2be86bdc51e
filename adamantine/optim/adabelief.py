"""AdaBelief (Zhuang et al., arXiv:2010.07468): steps are long where the gradient is what was expected."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.kernel import Code, Fused
from adamantine.live import FIRST, Live, Moment, counted, steps_and_bias
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import TINY, root
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response, averaged, response
from adamantine.tree import Params, each, size_bytes

BELIEF = "mean square distance from the average"


@dataclass(frozen=True)
class Belief(Part):
    """`m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)`, with `v` the average of `(u - m)^2`.

    `m <- beta1 m + (1 - beta1) u`, then `v <- beta2 v + (1 - beta2) (u - m)^2 + eps`: the `eps` adds up from
    step to step, to at most `eps / (1 - beta2)`.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-16
    symmetry: ClassVar[str] = "signed permutation"

    def __post_init__(self) -> None:
        limits.betas(self, beta1=self.beta1, beta2=self.beta2)
        limits.nonnegative(self, eps=self.eps)

    def init(self, w: Params) -> State:
        """`t = 0`, `m = 0`, `v = 0`."""
        return 0, each(torch.zeros_like, w), each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The corrected average over the corrected root."""
        t = s[0] + 1
        m = {k: torch.lerp(s[1][k], x, 1 - self.beta1) for k, x in u.items()}
        v = {k: torch.lerp(s[2][k], (x - m[k]).square(), 1 - self.beta2) + self.eps for k, x in u.items()}
        under = root(v, self.eps, (1 - self.beta2**t) ** -0.5)
        return {k: x / (1 - self.beta1**t) / under[k] for k, x in m.items()}, (t, m, v)

    def response(self, s: State, p: Point) -> Response:
        """The corrected average's, over the root."""
        t, m, v = s
        under, near = root(v, self.eps, (1 - self.beta2**t) ** -0.5), 1 / (1 - self.beta1**t)
        scale = {k: near / x for k, x in under.items()}
        return response(p.w, scale, averaged(self.beta1), out={k: x * scale[k] for k, x in m.items()})

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`v / (1 - beta2^t)` and `m / (1 - beta1^t)`; nothing before the first step."""
        return (*counted(BELIEF, (s[0], s[2]), self.beta2), *counted(FIRST, s[:2], self.beta1))

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """Both averages, or none: one alone would have the count of steps of the other."""
        v = live.claim(BELIEF, w)
        m = live.claim(FIRST, w) if v else None
        if v is None or m is None:
            return s
        t, held = steps_and_bias(m, self.beta1)
        return t, each(lambda x: x * held, m.value), each(lambda x: x * (1 - self.beta2**t), v.value)

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        t = s[0] + 1
        text = (
            "$m += $near * (u - $m); const T d = u - $m; $v += $far * (d * d - $v); $v += $added; "
            "u = $m * $a / (sqrt($v) * $scale + $eps);"
        )
        numbers = {
            "near": 1 - self.beta1,
            "far": 1 - self.beta2,
            "added": self.eps,
            "a": 1 / (1 - self.beta1**t),
            "scale": (1 - self.beta2**t) ** -0.5,
            "eps": self.eps or TINY,
        }
        code = Code(text, (("m", "full"), ("v", "full")), tuple(numbers))
        return Fused(code, s[1:], tuple(numbers.values()), (t, *s[1:]))

    def state_bytes(self, w: Params) -> int:
        """Two copies of the weights."""
        return 2 * size_bytes(w)


def adabelief(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-16,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Belief >> Decay >> Lr` (arXiv:2010.07468, algorithm 2), with decoupled decay.

    `eps` is 1e-16, the default of the authors' later releases; the rectification that they also switch on is left
    out, as in the paper.
    """
    return Belief(beta1, beta2, eps) >> Decay(decay) >> Lr(lr, schedule)
