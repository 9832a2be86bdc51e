"""Adan (Xie et al., arXiv:2208.06677): Nesterov momentum from averages of gradients and of their differences."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.kernel import Code, Fused
from adamantine.optim import limits
from adamantine.optim.lr import Lr
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import TINY, root
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response, averaged, response
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class Adan(Part):
    """`(m + beta2 v) / (sqrt(n) + eps)`, each average divided by one minus its coefficient to the power `t`.

    With `d = u - (u of the step before)`, zero in the first step: `m` averages `u` with coefficient `beta1`, `v`
    averages `d` with `beta2`, and `n` averages `(u + beta2 d)^2` with `beta3`. A coefficient is what is kept of
    the past; the paper writes one minus it.
    """

    beta1: float = 0.98
    beta2: float = 0.92
    beta3: float = 0.99
    eps: float = 1e-8
    symmetry: ClassVar[str] = "signed permutation"

    def __post_init__(self) -> None:
        limits.betas(self, beta1=self.beta1, beta2=self.beta2, beta3=self.beta3)
        limits.nonnegative(self, eps=self.eps)

    def init(self, w: Params) -> State:
        """`t = 0`; `m`, `v`, `n` and the direction before, all zero."""
        return 0, *(each(torch.zeros_like, w) for _ in range(4))

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The look-ahead average over the root of its second moment."""
        t, m, v, n, before = s
        t += 1
        d = {k: x - before[k] if t > 1 else torch.zeros_like(x) for k, x in u.items()}
        m = {k: torch.lerp(m[k], x, 1 - self.beta1) for k, x in u.items()}
        v = {k: torch.lerp(v[k], x, 1 - self.beta2) for k, x in d.items()}
        ahead = {k: torch.add(x, d[k], alpha=self.beta2) for k, x in u.items()}
        n = {k: torch.lerp(n[k], x.square(), 1 - self.beta3) for k, x in ahead.items()}
        a, b = 1 / (1 - self.beta1**t), self.beta2 / (1 - self.beta2**t)
        under = root(n, self.eps, (1 - self.beta3**t) ** -0.5)
        out = {k: torch.add(x * a, v[k], alpha=b) / under[k] for k, x in m.items()}
        return out, (t, m, v, n, each(torch.clone, u))

    def response(self, s: State, p: Point) -> Response:
        """The gain of the look-ahead average, over the root; a difference of directions is twice one that flips."""
        t, m, v, n, _ = s
        a, b = 1 / (1 - self.beta1**t), self.beta2 / (1 - self.beta2**t)
        scale = each(torch.reciprocal, root(n, self.eps, (1 - self.beta3**t) ** -0.5))
        out = {k: (a * x + b * v[k]) * scale[k] for k, x in m.items()}
        return response(p.w, scale, a * averaged(self.beta1) + 2 * b * averaged(self.beta2), out=out)

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        t = s[0] + 1
        text = (
            "const T d = (u - $before) * $later; $before = u; $m += $one * (u - $m); $v += $two * (d - $v); "
            "const T x = u + $beta * d; $n += $three * (x * x - $n); "
            "u = ($m * $a + $v * $b) / (sqrt($n) * $scale + $eps);"
        )
        numbers = {
            "later": float(t > 1),
            "one": 1 - self.beta1,
            "two": 1 - self.beta2,
            "three": 1 - self.beta3,
            "beta": self.beta2,
            "a": 1 / (1 - self.beta1**t),
            "b": self.beta2 / (1 - self.beta2**t),
            "scale": (1 - self.beta3**t) ** -0.5,
            "eps": self.eps or TINY,
        }
        code = Code(text, tuple((name, "full") for name in ("m", "v", "n", "before")), tuple(numbers))
        return Fused(code, s[1:], tuple(numbers.values()), (t, *s[1:]))

    def state_bytes(self, w: Params) -> int:
        """Four copies of the weights."""
        return 4 * size_bytes(w)


@dataclass(frozen=True)
class ProximalDecay(Part):
    """`(u + rate w) / (1 + eta rate)` with `eta = lr schedule(step, steps)`: before `Lr(lr, schedule)`, implicit decay.

    Then `w <- (w - eta u) / (1 + eta rate)`, the minimum of `u v + |v - w|^2 / (2 eta) + rate |v|^2 / 2` over `v`.
    """

    rate: float = 0.01
    lr: float = 0.01
    schedule: Schedule = Constant()
    symmetry: ClassVar[str] = "rotation"

    def __post_init__(self) -> None:
        limits.nonnegative(self, rate=self.rate, lr=self.lr)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The direction that, taken with the step `eta`, ends at the minimum."""
        if not self.rate:
            return u, s
        under = 1 + self.lr * self.schedule(p.step, p.steps) * self.rate
        return {k: torch.add(x, p.w[k], alpha=self.rate) / under for k, x in u.items()}, s

    def response(self, s: State, p: Point) -> Response:
        """One and the rate, both over what is divided by."""
        under = 1 + self.lr * self.schedule(p.step, p.steps) * self.rate
        return response(p.w, 1 / under, pull=self.rate / under)

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        over = 1 / (1 + self.lr * self.schedule(p.step, p.steps) * self.rate)
        return Fused(Code("u = (u + $rate * w) * $over;", (), ("rate", "over")), (), (self.rate, over), s)


def adan(
    lr: float,
    beta1: float = 0.98,
    beta2: float = 0.92,
    beta3: float = 0.99,
    eps: float = 1e-8,
    decay: float = 0.02,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Adan >> ProximalDecay >> Lr` (arXiv:2208.06677, algorithm 1, without restarts).

    The paper's algorithm corrects no bias and starts `m` and `n` from the first gradient; here the averages start
    at zero and are corrected, as in the authors' code and in optax.
    """
    return Adan(beta1, beta2, beta3, eps) >> ProximalDecay(decay, lr, schedule) >> Lr(lr, schedule)
