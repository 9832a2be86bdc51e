"""Prodigy (Mishchenko & Defazio, arXiv:2306.06101): Adam with a rate estimated from the distance it has come."""

from dataclasses import dataclass
from math import inf, sqrt
from typing import ClassVar

import torch

from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.rate import rate
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.symmetry import GROUPS, holds, symmetry_of
from adamantine.tree import Params, dot, each, norm, size_bytes


@dataclass(frozen=True)
class Prodigy(Part):
    """`d * inner(m / (sqrt(v) + d' eps))`: Adam in units of an estimated distance `d`, which becomes `d'` for the next.

    `m` and `v` average `d g` and `(d g)^2`. With `gamma` the rate of `inner` at this step and `w0` the first weights,
    `r <- b r + (d^2 / d0) gamma <g, w0 - w>` and `q <- b q + (d^2 / d0) gamma g`, where `b = beta3` or `sqrt(beta2)`;
    `d'` is the largest `coefficient r / |q|_1` so far, at most `growth` times `d`. With `safeguard`, `q` leaves `gamma`
    out, so that warming up does not make `d` too large. With `debias`, `gamma` and the step are multiplied by Adam's
    `sqrt(1 - beta2^t) / (1 - beta1^t)`.
    """

    inner: Part = Chain()
    beta1: float = 0.9
    beta2: float = 0.999
    beta3: float | None = None
    eps: float = 1e-8
    d0: float = 1e-6
    coefficient: float = 1.0
    growth: float = inf
    safeguard: bool = False
    debias: bool = False
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.betas(self, beta1=self.beta1, beta2=self.beta2)
        if self.beta3 is not None:
            limits.betas(self, beta3=self.beta3)
        limits.positive(self, eps=self.eps, d0=self.d0, coefficient=self.coefficient)
        if not self.growth > 1:
            raise ValueError(f"Prodigy: growth = {self.growth!r} must exceed 1, or d never grows; inf sets no limit.")
        limits.part(self, inner=self.inner)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Signed permutations, as far as the inner part's hold them."""
        return symmetry_of(GROUPS["signed permutation"] & holds(self.inner.symmetry))

    @property
    def gradients(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    def init(self, w: Params) -> State:
        """`t = 0`, `d = d0` twice (now, and the largest estimate), `r = 0`, `w0 = w`, `q = m = v = 0`."""
        zeros = [each(torch.zeros_like, w) for _ in range(3)]
        return 0, self.d0, self.d0, 0.0, each(torch.clone, w), *zeros, self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The step, in units of `d` as estimated before this gradient."""
        t, d, largest, r, w0, q, m, v, held = s
        t += 1
        unit = d * ((1 - self.beta2**t) ** 0.5 / (1 - self.beta1**t) if self.debias else 1.0)
        g = {k: p.grad[k] for k in u}
        b = sqrt(self.beta2) if self.beta3 is None else self.beta3
        weight = d / self.d0 * unit * rate(self.inner, p)
        r = b * r + weight * float(dot(g, {k: w0[k] - p.w[k] for k in g}))
        share = d * d / self.d0 if self.safeguard else weight
        q = {k: torch.add(b * q[k], x, alpha=share) for k, x in g.items()}
        m = {k: torch.add(self.beta1 * m[k], x, alpha=d * (1 - self.beta1)) for k, x in u.items()}
        v = {k: torch.addcmul(self.beta2 * v[k], x, x, value=d * d * (1 - self.beta2)) for k, x in g.items()}
        length = float(norm(q, 1))
        if length > 0:
            found = self.coefficient * r / length
            d = max(d, found) if d == self.d0 else d
            largest = max(largest, found)
            d = min(largest, d * self.growth)
        u = {k: x / (v[k].sqrt() + d * self.eps) for k, x in m.items()}
        u, held = self.inner.update(u, held, p)
        return {k: unit * x for k, x in u.items()}, (t, d, largest, r, w0, q, m, v, held)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return self.inner.read(w, s[-1])

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews."""
        return *s[:-1], self.inner.renew(s[-1], p)

    def state_bytes(self, w: Params) -> int:
        """Four copies of the weights, and the inner part's."""
        return 4 * size_bytes(w) + self.inner.state_bytes(w)


def prodigy(
    lr: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    d0: float = 1e-6,
    coefficient: float = 1.0,
    safeguard: bool = False,
    schedule: Schedule = Constant(),
) -> Part:
    """`Prodigy(Decay >> Lr)` (arXiv:2306.06101, algorithm 4), whose rate is a factor of the estimated one: 1 as a rule.

    Where they differ the authors' code is followed, since it is what people run: `eps` is scaled by the new `d`.
    """
    inner = Decay(decay) >> Lr(lr, schedule)
    return Prodigy(inner, beta1, beta2, None, eps, d0, coefficient, safeguard=safeguard)
