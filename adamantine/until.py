"""An optimizer whose parts change in the middle of training, going on from what the state has learnt."""

from dataclasses import dataclass

from adamantine.live import Live, Moment
from adamantine.part import Chain, Part, State, common
from adamantine.point import Point
from adamantine.response import Response
from adamantine.route import Route
from adamantine.tree import Params


@dataclass(frozen=True)
class Until(Part):
    """`first` up to a fraction of training, then `second`, which goes on from what `first` has learnt.

    At the switch `second` starts from its own initial state, and each of its parts that keeps an average takes over the
    one of the same kind that a part of `first` holds, in order: momentum from momentum, second moment from second
    moment, shared, projected or turned as it keeps it. What has no counterpart starts afresh, and what `second` has no
    place for is dropped. With `carry=False` everything starts afresh. Three stages are
    `Until(0.1, a, Until(0.5, b, c))`.
    """

    fraction: float
    first: Part
    second: Part
    carry: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.fraction, (int, float)) or not 0 <= self.fraction <= 1:
            raise ValueError(
                f"Until: fraction = {self.fraction!r} must lie in [0, 1]; give the share of training that comes before "
                "the switch."
            )
        for name, x in (("first", self.first), ("second", self.second)):
            if not isinstance(x, Part):
                raise TypeError(
                    f"Until: {name} is a {type(x).__name__}, but must be a Part; compose one, as in Ema() >> Rms()."
                )

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What both commute with."""
        return common((self.first, self.second))

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The dearer of the two."""
        return max(self.first.gradients, self.second.gradients)

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both are."""
        return self.first.local and self.second.local

    def init(self, w: Params) -> State:
        """The first part's state."""
        return (0, self.first.init(w))

    def switched(self, s: State, w: Params, p: Point) -> State:
        """The state for this step: that of `second` once `step >= fraction * steps`."""
        stage, inner = s
        if stage or p.step < self.fraction * p.steps:
            return s
        new = self.second.init(w)
        return 1, self.second.adopt(new, Live(self.first.moments(inner, w)), w) if self.carry else new

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """As the part in charge at this step."""
        stage, inner = self.switched(s, {k: p.w[k] for k in u}, p)
        u, inner = self.part_in_charge(stage).update(u, inner, p)
        return u, (stage, inner)

    def response(self, s: State, p: Point) -> Response | None:
        """That of the part now in charge."""
        return self.part_in_charge(s[0]).response(s[1], p)

    def part_in_charge(self, stage: int) -> Part:
        """`first` before the switch, `second` after it."""
        return self.second if stage else self.first

    def read(self, w: Params, s: State) -> Params:
        """As the part now in charge reads."""
        return self.part_in_charge(s[0]).read(w, s[1])

    def renew(self, s: State, p: Point) -> State:
        """Renew the part now in charge."""
        return s[0], self.part_in_charge(s[0]).renew(s[1], p)

    @property
    def units(self) -> tuple[str, ...]:
        """Those of both, where they agree."""
        return self.first.units if self.first.units == self.second.units else (repr(self),)

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """Those of the part now in charge."""
        return self.part_in_charge(s[0]).moments(s[1], w)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """For the part now in charge."""
        return s[0], self.part_in_charge(s[0]).adopt(s[1], live, w)

    def state_bytes(self, w: Params) -> int:
        """The larger of the two."""
        return max(self.first.state_bytes(w), self.second.state_bytes(w))


def switched(part: Part, s: State, w: Params, p: Point) -> State:
    """The state of `part` for the step at `p`, with every switch in its chains and routes that is due already made."""
    if isinstance(part, Until):
        stage, inner = part.switched(s, w, p)
        return stage, switched(part.part_in_charge(stage), inner, w, p)
    if isinstance(part, Chain):
        return tuple(switched(x, sx, w, p) for x, sx in zip(part.parts, s, strict=True))
    if isinstance(part, Route):
        yes, no = part.halves(w, w)
        return switched(part.yes, s[0], yes, p) if yes else s[0], switched(part.no, s[1], no, p) if no else s[1]
    return s
