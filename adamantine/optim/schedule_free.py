"""Schedule-free training (Defazio et al., arXiv:2405.15682): an average of the iterates in place of a decaying rate."""

from dataclasses import dataclass, replace

import torch

from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.rate import rate
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class ScheduleFree(Part):
    """Let `inner` step `z`, average it to `x`, and take gradients at `y = beta x + (1 - beta) z`.

    The weights being stepped are `y`; `read` gives `x`. With `gamma` the largest rate of `inner` so far,
    `z <- z - inner(u)`, then `x <- (1 - c) x + c z` with `c = a_t / (a_1 + ... + a_t)` and
    `a_t = t^power gamma^rate_power`. After the rate has fallen this is the authors' code, since the paper knows none
    that falls. Only `z` is kept, as `x = (y - (1 - beta) z) / beta`.
    """

    inner: Part
    beta: float = 0.9
    power: float = 0.0
    rate_power: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.beta < 1:
            raise ValueError(
                f"ScheduleFree: beta = {self.beta!r} must lie in (0, 1), or the average cannot be told from the "
                "weights; 0.9 is usual."
            )
        limits.nonnegative(self, power=self.power, rate_power=self.rate_power)
        limits.part(self, inner=self.inner)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.symmetry

    @property
    def gradients(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part is."""
        return self.inner.local

    def init(self, w: Params) -> State:
        """`t = 0`, no weight given yet, no rate seen yet, `z = w`."""
        return 0, 0.0, 0.0, each(torch.clone, w), self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`c (y - z) + (1 - beta (1 - c)) inner(u)`, which moves `y` to where `x` and `z` put it."""
        t, total, gamma, z, held = s
        u, held = self.inner.update(u, held, p)
        t, gamma = t + 1, max(gamma, rate(self.inner, p))
        weight = t**self.power * gamma**self.rate_power
        total += weight
        c = weight / total if total else 0.0
        out = {k: c * (p.w[k] - z[k]) + (1 - self.beta * (1 - c)) * x for k, x in u.items()}
        return out, (t, total, gamma, {k: z[k] - x for k, x in u.items()}, held)

    def response(self, s: State, p: Point) -> Response | None:
        """The inner part's, with `F(-1) = 1 - beta + beta c / (2 - c)` and the weight `c` of this step held still.

        With `z <- z - r` and `x <- (1 - c) x + c z` of the same `r` that changes its sign at every step, `y` moves by
        this part of `r`.
        """
        t, total, gamma, z, held = s
        inner = self.inner.response(held, p)
        c = t**self.power * gamma**self.rate_power / total if total else 0.0
        told = inner and inner.then(response(p.w, flip=1 - self.beta + self.beta * c / (2 - c)))
        if inner is None or told is None:
            return None
        r = inner.handed_on(p.grad, p.w)
        return replace(told, out={k: c * (p.w[k] - z[k]) + (1 - self.beta) * (1 - c) * x for k, x in r.items()})

    def read(self, w: Params, s: State) -> Params:
        """`x`, as the inner part reads it."""
        x = {k: torch.lerp(s[3][k], y, 1 / self.beta) for k, y in w.items()}
        return self.inner.read(x, s[4])

    def renew(self, s: State, p: Point) -> State:
        """The inner part renews; the average goes on."""
        return *s[:4], self.inner.renew(s[4], p)

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.inner.units

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The inner part's."""
        return self.inner.moments(s[4], w)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """For the inner part."""
        return *s[:4], self.inner.adopt(s[4], live, w)

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights, and the inner part's."""
        return size_bytes(w) + self.inner.state_bytes(w)


def schedule_free_adamw(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    power: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`ScheduleFree(Rms >> Decay >> Lr)` (arXiv:2405.15682); warm up with `schedule=Warmup(steps)`.

    Followed is the authors' code, since it is what is run: the second moment is corrected for bias under the root. The
    paper's algorithm 1 puts the correction into the rate, and so into the weights and the decay. That is taken at `y`.
    """
    return ScheduleFree(Rms(beta2, eps) >> Decay(decay) >> Lr(lr, schedule), beta1, power)


def schedule_free_sgd(
    lr: float,
    beta: float = 0.9,
    decay: float = 0.0,
    power: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`ScheduleFree(Decay >> Lr)` (arXiv:2405.15682), the decay taken at `y`."""
    return ScheduleFree(Decay(decay) >> Lr(lr, schedule), beta, power)
