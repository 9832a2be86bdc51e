"""Grafting: the direction of one optimizer with the size of another (Agarwal et al., arXiv:2002.11803)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.part import Chain, Part, State
from adamantine.point import Point
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
    length = torch.linalg.vector_norm(d)
    return d * (torch.linalg.vector_norm(n) / torch.where(length > 0, length, torch.ones_like(length)))
