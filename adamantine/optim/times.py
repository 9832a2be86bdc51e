"""A constant factor, where a published rule has one beside the rate."""

from dataclasses import dataclass
from typing import ClassVar

from adamantine.kernel import Code, Fused
from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params


@dataclass(frozen=True)
class Times(Part):
    """`factor * u`. Unlike `Lr` it is no rate: schedulers that change the rate leave it alone."""

    factor: float = 1.0
    symmetry: ClassVar[str] = "rotation"

    def __post_init__(self) -> None:
        limits.positive(self, factor=self.factor)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The scaled direction."""
        return {k: x * self.factor for k, x in u.items()}, s

    def response(self, s: State, p: Point) -> Response:
        """The factor."""
        return response(p.w, self.factor)

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        return Fused(Code("u *= $factor;", (), ("factor",)), (), (self.factor,), s)
