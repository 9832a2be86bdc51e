"""Grafting: the direction of one optimizer with the size of another (Agarwal et al., arXiv:2002.11803)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.symmetry import GROUPS, holds, symmetry_of
from adamantine.tree import Params


@dataclass(frozen=True)
class Graft(Part):
    """`direction`'s update of each tensor, scaled to the norm of `size`'s; both see the same gradient and weights.

    With the empty `size` the norm is that of what comes in: grafting onto SGD.
    """

    direction: Part = Ema() >> Rms()
    size: Part = Chain()

    def __post_init__(self) -> None:
        limits.part(self, direction=self.direction, size=self.size)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What both commute with and acts within single tensors."""
        return symmetry_of(holds(self.direction.symmetry) & holds(self.size.symmetry) & GROUPS["layer rotation"])

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Sum over both."""
        return self.direction.gradients + self.size.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both are."""
        return self.direction.local and self.size.local

    def init(self, w: Params) -> State:
        """A state for each."""
        return self.direction.init(w), self.size.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`d |n| / |d|` with `d` from `direction` and `n` from `size`; zero where `d` is."""
        d, first = self.direction.update(u, s[0], p)
        n, second = self.size.update(u, s[1], p)
        return {k: _resized(x, n[k]) for k, x in d.items()}, (first, second)

    def response(self, s: State, p: Point) -> Response | None:
        """The direction's, with the quotient of both lengths in this step held still; None where either has none."""
        told = self.direction.response(s[0], p), self.size.response(s[1], p)
        if told[0] is None or told[1] is None:
            return None
        d, n = (a.handed_on(p.grad, p.w) for a in told if a is not None)
        ratio = {k: _ratio(x, n[k]) for k, x in d.items()}
        whole = told[0].then(response(p.w, ratio))
        return whole and replace(whole, out={k: x * d[k] for k, x in ratio.items()})

    def read(self, w: Params, s: State) -> Params:
        """As the direction's part reads."""
        return self.direction.read(w, s[0])

    def renew(self, s: State, p: Point) -> State:
        """Renew both."""
        return self.direction.renew(s[0], p), self.size.renew(s[1], p)

    def state_bytes(self, w: Params) -> int:
        """Sum over both."""
        return self.direction.state_bytes(w) + self.size.state_bytes(w)


def _resized(d: Tensor, n: Tensor) -> Tensor:
    return d * _ratio(d, n)


def _ratio(d: Tensor, n: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(d)
    return torch.linalg.vector_norm(n) / torch.where(length > 0, length, torch.ones_like(length))
