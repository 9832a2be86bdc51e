"""The learning rate, the last part of most chains."""

import math
from dataclasses import dataclass, field

from adamantine import tree
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class Lr(Part):
    """Multiply by `size * schedule(step, steps)`."""

    size: float = 0.1
    schedule: Schedule = field(default_factory=Constant)
    symmetry = "rotation"

    def __post_init__(self) -> None:
        """Refuse a rate that is not a positive number."""
        if not (self.size > 0 and math.isfinite(self.size)):
            raise ValueError(f"Lr: size is {self.size}; a learning rate is a positive number.")

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Scale every coordinate alike."""
        factor = self.size * self.schedule(p.step, p.steps)
        return tree.each(lambda x: factor * x, u), s
