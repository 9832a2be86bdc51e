"""The learning rate: the last part of nearly every chain."""

from dataclasses import dataclass
from typing import ClassVar

from adamantine.kernel import Code, Fused
from adamantine.optim import limits
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params


@dataclass(frozen=True)
class Lr(Part):
    """`size * schedule(step, steps) * u`, with the step counted from zero by the point."""

    size: float
    schedule: Schedule = Constant()
    symmetry: ClassVar[str] = "rotation"

    def __post_init__(self) -> None:
        limits.nonnegative(self, size=self.size)
        if not callable(self.schedule) or isinstance(self.schedule, type):
            raise TypeError(
                f"Lr: schedule is {self.schedule!r}, but must map (step, steps) to a factor; give Cosine(), say."
            )

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The scaled direction."""
        rate = self.size * self.schedule(p.step, p.steps)
        return {k: x * rate for k, x in u.items()}, s

    def response(self, s: State, p: Point) -> Response:
        """The rate of this step."""
        return response(p.w, self.size * self.schedule(p.step, p.steps))

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        return Fused(Code("u *= $rate;", (), ("rate",)), (), (self.size * self.schedule(p.step, p.steps),), s)
