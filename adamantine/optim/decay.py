"""Decoupled weight decay (Loshchilov & Hutter, arXiv:1711.05101)."""

from dataclasses import dataclass

from adamantine import tree
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class Decay(Part):
    """Add `rate * w` to the direction; put before `Lr`, the weights shrink by `lr * rate` a step, as in torch's AdamW."""

    rate: float = 0.01
    symmetry = "rotation"

    def __post_init__(self) -> None:
        """Refuse a negative rate."""
        if self.rate < 0:
            raise ValueError(f"Decay: rate is {self.rate}; it must not be negative.")

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`u + rate w`."""
        return tree.add(u, p.w, self.rate), s
