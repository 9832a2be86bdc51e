"""Weight decay added to the direction: decoupled (Loshchilov & Hutter, arXiv:1711.05101) when it comes last."""

from dataclasses import dataclass
from typing import ClassVar

from adamantine.kernel import Code, Fused
from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params, add


@dataclass(frozen=True)
class Decay(Part):
    """`u + rate * w`.

    Right before `Lr(lr)` it subtracts `lr * rate * w`, decoupled as in `torch.optim.AdamW`; at the start of
    a chain it is the gradient of the penalty `rate / 2 * |w|^2` for `u`, though `Rms` goes on seeing the raw
    gradient.
    """

    rate: float = 0.01
    symmetry: ClassVar[str] = "rotation"

    def __post_init__(self) -> None:
        limits.nonnegative(self, rate=self.rate)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`u + rate * w`."""
        return (add(u, p.w, self.rate) if self.rate else u), s

    def response(self, s: State, p: Point) -> Response:
        """The rate, as a pull."""
        return response(p.w, pull=self.rate)

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        return Fused(Code("u += $rate * w;", (), ("rate",)), (), (self.rate,), s)
