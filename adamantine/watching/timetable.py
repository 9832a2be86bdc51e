"""Which probes are due at a step: every so many steps, or as often as a share of the time allows."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

REMEMBERS = 0.3  # weight of the newest cost in a probe's expected cost
GRADIENTS = {"loss": 0.4, "hvp": 2.0, "ggn": 2.0}  # what oracles cost, in gradients, where not one
SAVED = 2.0  # a probe saves up for at most so many measurements


class Timetable(Protocol):
    """When to measure. Costs and times are in seconds."""

    def due(self, step: int) -> tuple[int, ...]:
        """The probes, by number, to measure at `step`; asked once a step."""
        ...

    def passed(self, seconds: float, own: float) -> None:
        """A step has taken `seconds` without what the watching took, which is `own` and belongs to no probe."""
        ...

    def took(self, probe: int, seconds: float) -> None:
        """A probe has been measured, at this cost."""
        ...

    def drop(self, probe: int) -> None:
        """A probe is not measured any more."""
        ...


class Every:
    """Each probe at the multiples of its own interval, the first step included."""

    def __init__(self, intervals: Sequence[int]) -> None:
        self.intervals = dict(enumerate(intervals))

    def due(self, step: int) -> tuple[int, ...]:
        """Those whose interval divides `step`."""
        return tuple(i for i, every in self.intervals.items() if step % every == 0)

    def passed(self, seconds: float, own: float) -> None:
        """Nothing follows."""

    def took(self, probe: int, seconds: float) -> None:
        """Nothing follows."""

    def drop(self, probe: int) -> None:
        """Forget its interval."""
        self.intervals.pop(probe, None)


class Budget:
    """At most `share` of the time that training takes, in equal parts for every probe.

    A probe that has been tried saves its part of `share` times every step's time until that pays for the next
    measurement, whose cost is expected to be as before (an exponential average); what watching itself takes is paid in
    equal parts too. What an untried probe costs is not known: one at a time is tried, the lightest first, and only
    when all that was spent before has been earned, and what it is expected to cost by its `weights`, in units of which
    seconds follow from the probes tried before. The share is thus exceeded by no more than one first measurement.
    """

    def __init__(self, share: float, weights: Sequence[float]) -> None:
        self.share, self.weights = share, tuple(weights)
        self.credit = dict.fromkeys(range(len(weights)), 0.0)
        self.expected: dict[int, float] = {}
        self.times: dict[int, int] = {}
        self.owed = 0.0  # what was spent beyond what was earned, by all together

    def due(self, step: int) -> tuple[int, ...]:
        """Those that can pay, and an untried one where nothing is owed."""
        can = [i for i, cost in self.expected.items() if self.credit[i] >= cost]
        reserved = sum(self.expected[i] for i in can)
        untried = min((i for i in self.credit if i not in self.expected), key=self.weights.__getitem__, default=None)
        if untried is not None and self.owed + reserved + self._guess(untried) <= 0:
            can.append(untried)
        return tuple(sorted(can))

    def _guess(self, probe: int) -> float:
        """Seconds that an untried probe may take."""
        weight = sum(self.weights[i] for i in self.expected)
        return self.weights[probe] * sum(self.expected.values()) / weight if weight else 0.0

    def passed(self, seconds: float, own: float) -> None:
        """Everyone earns an equal part of the share, and pays an equal part of what belongs to no probe."""
        earned = self.share * seconds - own
        self.owed -= earned
        for i in self.credit:
            self.credit[i] += earned / len(self.credit)
            if i in self.expected:
                self.credit[i] = min(self.credit[i], SAVED * self.expected[i])

    def took(self, probe: int, seconds: float) -> None:
        """Pay, and expect what has been seen."""
        if probe not in self.credit:
            return
        self.owed += seconds
        self.credit[probe] -= seconds
        self.times[probe] = self.times.get(probe, 0) + 1
        before = self.expected.get(probe, seconds)
        # The first one starts from nothing, and tells little of the next.
        weight = 1.0 if self.times[probe] <= 2 else REMEMBERS
        self.expected[probe] = before + weight * (seconds - before)

    def drop(self, probe: int) -> None:
        """Its part goes to the others."""
        self.credit.pop(probe, None)
        self.expected.pop(probe, None)


def _weight(probe: Any) -> float:
    """What a probe says it costs, in gradients."""
    told = getattr(probe, "cost", {})
    return sum(n * GRADIENTS.get(oracle, 1.0) for oracle, n in told.items()) if isinstance(told, Mapping) else 1.0


def timetable(every: Any, budget: float | None, probes: Sequence[Any] | Mapping[Any, int]) -> Timetable:
    """`every` N steps (or {probe: N}, the others every 16), or within `budget`, a share between 0 and 1.

    Of probes given as {probe: n}, those that `every` does not name are due n times more rarely. ValueError where
    these are not what they should be.
    """
    rarer = list(probes.values()) if isinstance(probes, Mapping) else [1] * len(probes)
    probes = list(probes)
    if budget is not None:
        if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not 0 < budget < 1:
            raise ValueError(f"watch: budget is {budget!r}, but must be a share of the time between 0 and 1, as 0.1.")
        return Budget(float(budget), [_weight(p) for p in probes])
    given = every if isinstance(every, Mapping) else {}
    rest = 16 if isinstance(every, Mapping) else every
    strange = next((key for key in given if not any(key in (p, type(p)) for p in probes)), None)
    if strange is not None:
        raise ValueError(f"watch: every names {strange!r}, which is not among the probes; add it to probes.")
    for n in (*given.values(), rest, *rarer):
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"watch: every is {n!r}, but must be a whole number of steps, at least 1.")
    own = [
        next((n for key, n in given.items() if key in (p, type(p))), rest * k)
        for p, k in zip(probes, rarer, strict=True)
    ]
    return Every(own)
