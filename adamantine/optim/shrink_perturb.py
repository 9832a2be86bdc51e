"""Shrinking the weights and adding fresh ones (Ash & Adams, arXiv:1910.08475)."""

from dataclasses import dataclass
from typing import ClassVar

from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class ShrinkPerturb(Part):
    """At times the weights become `shrink * w + perturb * w0`, after the step, with a fresh start `w0` of the task.

    Every `period` steps, or where it is 0 at renewals. Last in a chain, behind the rate. Between
    those steps it does nothing, and its symmetry is told of then.
    """

    shrink: float = 0.8
    perturb: float = 0.2
    period: int = 0
    symmetry: ClassVar[str] = "rotation"

    def __post_init__(self) -> None:
        limits.nonnegative(self, shrink=self.shrink, perturb=self.perturb)
        limits.whole(self, 0, period=self.period)

    def init(self, w: Params) -> State:
        """Nothing is due."""
        return False

    def renew(self, s: State, p: Point) -> State:
        """It is due, where renewals decide."""
        return not self.period

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The step, and behind it the shrinking where it is due."""
        if not (s or (self.period and p.step and p.step % self.period == 0)):
            return u, False
        fresh = p.task.init(p.rng("fresh weights"))
        out = {}
        for k, x in u.items():
            new = fresh[k].to(x) if k in fresh else 0.0
            out[k] = p.w[k] - self.shrink * (p.w[k] - x) - self.perturb * new
        return out, False
