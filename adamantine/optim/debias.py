"""Adam's two bias corrections as one factor of the step, as its first version had them (arXiv:1412.6980, section 2)."""

from dataclasses import dataclass
from typing import ClassVar

from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params


@dataclass(frozen=True)
class Debias(Part):
    """`(1 - beta2^t)^.5 / (1 - beta1^t) * u`, after averages with these coefficients that were left uncorrected.

    For parts that look at the size of the direction between the averages and the step.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    symmetry: ClassVar[str] = "rotation"

    def __post_init__(self) -> None:
        limits.betas(self, beta1=self.beta1, beta2=self.beta2)

    def init(self, w: Params) -> State:
        """`t = 0`."""
        return 0

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The corrected direction."""
        t = s + 1
        factor = (1 - self.beta2**t) ** 0.5 / (1 - self.beta1**t)
        return {k: x * factor for k, x in u.items()}, t

    def response(self, s: State, p: Point) -> Response:
        """The factor."""
        return response(p.w, (1 - self.beta2**s) ** 0.5 / (1 - self.beta1**s))
