"""Decay towards the weights of the start instead of zero (Kumar et al., arXiv:2308.11958)."""

from dataclasses import dataclass
from typing import ClassVar

from adamantine import tree
from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class TowardStart(Part):
    """`u + rate * (w - w0)`, with `w0` the weights at the start; right before `Lr` it is decoupled, as `Decay` is."""

    rate: float = 0.01
    symmetry: ClassVar[str] = "rotation"

    def __post_init__(self) -> None:
        limits.nonnegative(self, rate=self.rate)

    def init(self, w: Params) -> State:
        """A copy of the weights."""
        return {k: x.detach().clone() for k, x in w.items()}

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`u + rate (w - w0)`."""
        return {k: x + self.rate * (p.w[k] - s[k]) for k, x in u.items()}, s

    def state_bytes(self, w: Params) -> int:
        """One number a weight."""
        return tree.size_bytes(w)
