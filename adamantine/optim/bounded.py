"""Overshoot-bounded gradient descent (Elsayed et al., arXiv:2410.14606): no prediction moves further than its error."""

from dataclasses import dataclass
from typing import ClassVar

from adamantine.optim import limits
from adamantine.optim.predictions import errors, method
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params, norm


@dataclass(frozen=True)
class Bounded(Part):
    """`lr u / max(1, M)`, `M = lr kappa max(e, 1) |u|_1 / e`, `e` the mean size of the errors, over all tensors given.

    `u` is taken for a mean of errors times derivatives of predictions, so that `|u|_1 / e` stands for the size of the
    derivatives alone: with one example it is the paper's bound with `|z|_1`, whose traces have no errors in them. For
    predictions that are linear with derivatives of at most 1 in size, no prediction of the batch then moves by more
    than `min(e, 1) / kappa`. The loss is to be half the squared error, or `u` to be scaled so. Errors are the task's
    `errors`; where it has none, `e` is the mean size of the loss. The paper has `kappa = 3` for policies and 2 for
    values, which `Route` tells apart. Last in a chain, and instead of a rate.
    """

    lr: float = 1.0
    kappa: float = 2.0
    schedule: Schedule = Constant()
    symmetry: ClassVar[str] = "signed permutation"
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.nonnegative(self, lr=self.lr)
        limits.positive(self, kappa=self.kappa)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The bounded step."""
        e = errors(p).abs().mean() if method(p.task, "errors") is not None else p.loss.abs()
        e = e.clamp_min(1e-12)  # without an error there is no step either
        rate = self.lr * self.schedule(p.step, p.steps)
        bound = rate * self.kappa * e.clamp_min(1.0) * norm(u, 1) / e
        return {k: x * (rate / bound.clamp_min(1.0)) for k, x in u.items()}, s


def obgd(lr: float, kappa: float = 2.0, schedule: Schedule = Constant()) -> Part:
    """`Bounded`: ObGD (arXiv:2410.14606, algorithm 3) for batches, without the eligibility traces of a stream."""
    return Bounded(lr, kappa, schedule)
