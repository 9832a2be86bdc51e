"""First moments: heavy-ball momentum (Polyak 1964), Nesterov's form of it (Sutskever et al. 2013), and the
exponential moving average with bias correction (Kingma & Ba, arXiv:1412.6980; Dozat 2016 for its look-ahead).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.kernel import Code, Fused
from adamantine.live import FIRST, Live, Moment, counted, taken, uncounted
from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, averaged, response
from adamantine.tree import Params, each, size_bytes


@dataclass(frozen=True)
class Momentum(Part):
    """Heavy ball: `m <- beta m + u`, passed on; with `nesterov`, `u + beta m` is passed on instead.

    The direction grows by up to `1 / (1 - beta)`: the sum, as in `torch.optim.SGD`, not the average.
    """

    beta: float = 0.9
    nesterov: bool = False
    symmetry: ClassVar[str] = "rotation"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)

    def init(self, w: Params) -> State:
        """`m = 0`."""
        return each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`m`, or `u + beta m`."""
        m = {k: torch.add(x, s[k], alpha=self.beta) for k, x in u.items()}
        if not self.nesterov:
            return m, m
        return {k: torch.add(x, m[k], alpha=self.beta) for k, x in u.items()}, m

    def response(self, s: State, p: Point) -> Response:
        """`F(-1) = 1 / (1 + beta)`; with `nesterov`, `(1 + 2 beta) / (1 + beta)`."""
        m, flip = s, 1 / (1 + self.beta)
        if not self.nesterov:
            return response(p.w, flip=flip, out=m)
        return response(p.w, flip=1 + self.beta * flip, out={k: p.grad[k] + self.beta * x for k, x in m.items()})

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        text = f"$m = u + $beta * $m; u = {'u + $beta * $m' if self.nesterov else '$m'};"
        return Fused(Code(text, (("m", "full"),), ("beta",)), (s,), (self.beta,), s)

    @property
    def units(self) -> tuple[str, ...]:
        """A sum of directions is a direction."""
        return ()

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The average `(1 - beta) m`, steps uncounted; nothing while it is zero."""
        return uncounted(FIRST, s, 1 - self.beta)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """The average over `1 - beta`, as if it had been the direction forever."""
        m = live.claim(FIRST, w)
        return each(lambda x: x / (1 - self.beta), m.value) if m else s

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights."""
        return size_bytes(w)


@dataclass(frozen=True)
class Ema(Part):
    """Moving average `m <- beta m + (1 - beta) u`; with `debias`, `m / (1 - beta^t)` is passed on.

    With `nesterov` the average one step ahead is passed on, `beta m / (1 - beta^(t+1)) + (1 - beta) u /
    (1 - beta^t)` (Dozat's with a constant coefficient; `nadam.py` has the schedule of `torch.optim.NAdam`).
    """

    beta: float = 0.9
    debias: bool = True
    nesterov: bool = False
    symmetry: ClassVar[str] = "rotation"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)

    def init(self, w: Params) -> State:
        """`t = 0`, `m = 0`."""
        return 0, each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The corrected average, of now or of one step ahead."""
        b, t = self.beta, s[0] + 1
        m = {k: torch.lerp(s[1][k], x, 1 - b) for k, x in u.items()}
        now = 1 - b**t if self.debias else 1.0
        if not self.nesterov:
            return ({k: x / now for k, x in m.items()} if self.debias else m), (t, m)
        ahead = 1 - b ** (t + 1) if self.debias else 1.0
        out = {k: torch.add(x * ((1 - b) / now), m[k], alpha=b / ahead) for k, x in u.items()}
        return out, (t, m)

    def response(self, s: State, p: Point) -> Response:
        """`F(-1) = (1 - beta) / (1 + beta)`, and with `nesterov` what is passed on of the direction beside it."""
        b, (t, m) = self.beta, s
        now = 1 - b**t if self.debias else 1.0
        if not self.nesterov:
            return response(p.w, 1 / now, averaged(b), out=each(lambda x: x / now, m))
        near, far = (1 - b) / now, b / (1 - b ** (t + 1) if self.debias else 1.0)
        out = {k: near * p.grad[k] + far * x for k, x in m.items()}
        return response(p.w, flip=near + far * averaged(b), out=out)

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`: a weighted sum of the direction and the new average."""
        b, t = self.beta, s[0] + 1
        now = 1 - b ** (t + self.nesterov) if self.debias else 1.0
        numbers = [1 - b, (b if self.nesterov else 1.0) / now]
        if self.nesterov:
            numbers.append((1 - b) / (1 - b**t if self.debias else 1.0))
        text = f"$m += $rest * (u - $m); u = $m * $a{' + u * $b' if self.nesterov else ''};"
        names = ("rest", "a", "b")[: len(numbers)]
        return Fused(Code(text, (("m", "full"),), names), (s[1],), tuple(numbers), (t, s[1]))

    @property
    def units(self) -> tuple[str, ...]:
        """An average of directions is a direction."""
        return ()

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`m / (1 - beta^t)`, whether or not it is passed on so; nothing before the first step."""
        return counted(FIRST, s, self.beta)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """The steps go on being counted, and `m / (1 - beta^t)` is kept, so that a new `beta` makes no jump."""
        return taken(FIRST, s, self.beta, live, w)

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights."""
        return size_bytes(w)
