"""Adam on local time, Adam-Rel (Ellis et al., arXiv:2412.17113): the count of steps starts again at each objective."""

from dataclasses import dataclass

from adamantine.live import Live
from adamantine.optim import limits
from adamantine.optim.adam import adam
from adamantine.optim.inside import inside
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.step_counts import each_count
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response
from adamantine.tree import Params
from adamantine.until import Until


@dataclass(frozen=True)
class Recounted(Part):
    """`inner`, whose counts of steps go back to 0 when the objective changes, while its averages stay.

    Every whole number in the state of `inner` is taken for such a count: those of bias corrections, and those that say
    when something is due. Of Adam with settled averages each step is so multiplied by
    `f(t) = sqrt(1 - beta2^t) / (1 - beta1^t)`, t steps after the change: 0.32 at t = 1, 0.176 in the mean over 16
    steps, 1 in the end. Without a jump of the gradient that is a smaller rate and nothing else; compare at equal
    lengths of step. Averages are not told to another part (`moments`), since their counts no longer fit them.
    """

    inner: Part

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        if any(isinstance(x, Until) for x in inside(self.inner)):
            raise ValueError(
                "Recounted: inner has an Until, whose stage would be taken for a count of steps; put Recounted inside "
                "it, as in Until(0.5, Recounted(a), b)."
            )

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.symmetry

    @property
    def gradients(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part is."""
        return self.inner.local

    def init(self, w: Params) -> State:
        """The inner part's."""
        return self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner update."""
        return self.inner.update(u, s, p)

    def within(self, w: Params, p: Point) -> tuple[Part, Params, Point]:
        """Between renewals it is the inner part."""
        return self.inner, w, p

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return self.inner.read(w, s)

    def renew(self, s: State, p: Point) -> State:
        """What the inner part makes of its state, with every whole number 0."""
        return each_count(lambda _: 0, self.inner.renew(s, p))

    def response(self, s: State, p: Point) -> Response | None:
        """The inner part's."""
        return self.inner.response(s, p)

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.inner.units

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """For the inner part."""
        return self.inner.adopt(s, live, w)

    def state_bytes(self, w: Params) -> int:
        """The inner part's."""
        return self.inner.state_bytes(w)


def adam_rel(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    schedule: Schedule = Constant(),
) -> Part:
    """`Recounted(Ema >> Rms >> Lr)`: Adam-Rel (arXiv:2412.17113)."""
    return Recounted(adam(lr, beta1, beta2, eps, schedule))
