"""Overshoot-bounded gradient descent (Elsayed et al., arXiv:2410.14606): no prediction moves further than its error."""

from dataclasses import dataclass
from typing import ClassVar

from adamantine.optim import limits
from adamantine.optim.lr import Lr
from adamantine.optim.predictions import errors
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params, norm


@dataclass(frozen=True)
class Bounded(Part):
    """`u / max(1, M)`, `M = kappa max(e, 1) |u|_1 / e`, with `e` the mean size of the errors; over all tensors given.

    `u` is the step as it would be, its rate included: a mean of errors times derivatives of predictions, so that
    `|u|_1 / e` stands for the size of the derivatives alone. With one example it is the paper's bound with `|z|_1`,
    whose traces have no errors in them. For predictions that are linear with derivatives of at most 1 in size, no
    prediction of the batch then moves by more than `min(e, 1) / kappa`. The loss is to be half the squared error, or
    `u` to be scaled so. Errors are the task's `errors`; where it has none, `e` is the size of the mean loss. The paper
    has `kappa = 3` for policies and 2 for values, which `Route` tells apart. Last in a chain, behind the rate.
    """

    kappa: float = 2.0
    symmetry: ClassVar[str] = "signed permutation"
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.positive(self, kappa=self.kappa)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The bounded step."""
        e = errors(p).abs().mean() if hasattr(p.task, "errors") else p.loss.abs()
        e = e.clamp_min(1e-12)  # without an error there is no step either
        scale = 1 / (self.kappa * e.clamp_min(1.0) * norm(u, 1) / e).clamp_min(1.0)
        return {k: x * scale for k, x in u.items()}, s


def obgd(lr: float = 0.1, kappa: float = 2.0, schedule: Schedule = Constant()) -> Part:
    """`Lr >> Bounded`: ObGD (arXiv:2410.14606, algorithm 3) for batches, without the eligibility traces of a stream.

    The paper's rate is 1, at which the bound decides nearly every step; of 0.1 it cuts the long ones.
    """
    return Lr(lr, schedule) >> Bounded(kappa)
