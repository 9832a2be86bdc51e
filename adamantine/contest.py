"""Optimizers on several tasks whose scores are returns: tuned alike, reported on fresh seeds, higher is better.

The score of a run is the mean of the rows `metric` over training, the area under its learning curve, on a scale where
`low` is 0 and `high` is 1; a run that diverged scores 0. Every arm gets the same rates and tuning seeds on each task;
reporting seeds are others, and shared by the arms, which then differ in nothing but the optimizer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from adamantine import scores, stats
from adamantine.comparison import Arm
from adamantine.result import DIVERGED, Result, Results
from adamantine.run import Run
from adamantine.stats import Effect
from adamantine.tune import Tuned, tune

ROWS = 40


@dataclass(frozen=True)
class Event:
    """A task with its length in steps of the optimizer, and the returns that count as 0 and as 1."""

    name: str
    task: Any
    steps: int
    low: float
    high: float
    metric: str = "return"

    def score(self, result: Result) -> float:
        """Area under the learning curve."""
        return self._scaled(result, np.mean)

    def final(self, result: Result) -> float:
        """The last return."""
        return self._scaled(result, lambda x: x[-1])

    def _scaled(self, result: Result, of: Any) -> float:
        x = result.series(self.metric)[1]
        if result.status == DIVERGED or not len(x):
            return 0.0
        return float((of(x) - self.low) / (self.high - self.low))


@dataclass(frozen=True)
class Contest:
    """`arms` in `events`: which runs it takes, and what they say once they are in."""

    events: tuple[Event, ...]
    arms: tuple[Arm, ...]
    seeds: int = 12
    tuning_seeds: int = 4
    widen: int = 2

    def event(self, name: str) -> Event:
        """The event called `name`."""
        return next(e for e in self.events if e.name == name)

    def arm(self, name: str) -> Arm:
        """The arm called `name`."""
        return next(a for a in self.arms if a.name == name)

    def run(self, event: Event, arm: Arm, rate: float, seed: int, role: str) -> Run:
        """One training run; probes only where it reports."""
        probes = arm.probes if role == "report" else ()
        every = max(1, event.steps // ROWS)
        return Run(event.task, arm.make(rate, seed), event.steps, seed, role, every, 0, probes)

    def tuned(self, event: Event, arm: Arm, results: Results) -> Tuned:
        """The arm's tuning in this event so far."""
        return tune(
            results,
            lambda rate, seed, role: self.run(event, arm, rate, seed, role),
            arm.grid,
            self.tuning_seeds,
            lambda result: -event.score(result),
            self.widen,
        )

    def reporting(self, event: Event, arm: Arm, results: Results) -> list[Run]:
        """Reporting runs at the tuned rate; none while it is being tuned."""
        best = self.tuned(event, arm, results).best
        return [] if best is None else [self.run(event, arm, best, seed, "report") for seed in range(self.seeds)]

    def runs(self, results: Results) -> list[Run]:
        """Every run wanted so far."""
        found = []
        for event in self.events:
            for arm in self.arms:
                found += [*self.tuned(event, arm, results).runs, *self.reporting(event, arm, results)]
        return [*found, *(run for arm in self.arms for run in self.defaults(arm, results))]

    @property
    def expected(self) -> int:
        """How many runs there are, if no grid is widened."""
        each = sum(self.tuning_seeds * len(arm.grid) + self.seeds for arm in self.arms)
        return len(self.events) * each

    def default(self, arm: Arm, results: Results) -> float | None:
        """The one rate of the grid with the best tuning score over all events together; None while any is missing."""
        tuned = [self.tuned(event, arm, results) for event in self.events]
        if any(t.best is None for t in tuned):
            return None
        shared = set.intersection(*(set(t.losses) for t in tuned))
        return max(sorted(shared), key=lambda rate: -sum(t.losses[rate] for t in tuned))

    def defaults(self, arm: Arm, results: Results) -> list[Run]:
        """Reporting runs at the default rate, in every event in turn."""
        rate = self.default(arm, results)
        if rate is None or len(self.events) < 2:
            return []
        return [self.run(e, arm, rate, seed, "report") for e in self.events for seed in range(self.seeds)]

    def results(self, event: Event, arm: Arm, results: Results, default: bool = False) -> list[Result]:
        """Reporting results by seed. Raises LookupError while one is missing."""
        if default and len(self.events) > 1:
            at = self.events.index(event)
            wanted = self.defaults(arm, results)[at * self.seeds : (at + 1) * self.seeds]
        else:
            wanted = self.reporting(event, arm, results)
        found = [r for r in map(results.get, wanted) if r is not None]
        if not found or len(found) < len(wanted):
            raise LookupError(f"{event.name}: the arm {arm.name!r} has not been run yet.")
        return found

    def scores(self, name: str, results: Results, default: bool = False) -> list[np.ndarray]:
        """Scores of the arm, an array over seeds for each event; at its `default` rate instead of the tuned ones."""
        arm = self.arm(name)
        return [np.array([e.score(r) for r in self.results(e, arm, results, default)]) for e in self.events]

    def finals(self, name: str, results: Results) -> list[np.ndarray]:
        """The last returns, on the same scale."""
        arm = self.arm(name)
        return [np.array([e.final(r) for r in self.results(e, arm, results)]) for e in self.events]

    def against(
        self, name: str, reference: str, results: Results, level: float = 0.95, default: bool = False
    ) -> Effect:
        """Interquartile mean of the scores, `name` less `reference`, seeds paired: 0.01 is a hundredth of the scale."""
        own, other = (self.scores(n, results, default) for n in (name, reference))
        return scores.iqm_difference(own, other, level)

    def within(self, event: str, name: str, reference: str, results: Results, level: float = 0.95) -> Effect:
        """Mean of the differences in one event, with Student's t interval."""
        at = [e.name for e in self.events].index(event)
        own, other = (self.scores(n, results)[at] for n in (name, reference))
        return stats.paired(own.tolist(), other.tolist(), level, log=False)

    def collapsed(self, name: str, results: Results, below: float = 0.1) -> Effect:
        """Share of reporting runs whose last return is below this part of the scale, over all events."""
        x = np.concatenate(self.finals(name, results))
        return scores.rate(int((x < below).sum()), len(x))

    def sensitivity(self, name: str, results: Results) -> float:
        """Share of the grid, mean over events, whose tuning score reaches 90 % of the best."""
        tuned = [self.tuned(e, self.arm(name), results) for e in self.events]
        return float(np.mean([scores.share_near_best([-x for x in t.losses.values()], 0.0) for t in tuned]))

    def keys(self, results: Results, *names: str) -> tuple[str, ...]:
        """Keys of the reporting runs of these arms, of all when none is named."""
        arms = [self.arm(n) for n in names] or list(self.arms)
        return tuple(r.key for e in self.events for a in arms for r in self.results(e, a, results))

    def ties(self, one: str, other: str, results: Results) -> list[str]:
        """Events in which two arms cannot be told apart: they say nothing about which optimizer is better."""
        found = []
        for event in self.events:
            effect = self.within(event.name, one, other, results)
            if not (effect.above(0.0) or effect.below(0.0)):
                found.append(event.name)
        return found

    def notes(self, results: Results) -> list[str]:
        """What a reader of the verdicts must know."""
        found = []
        for event in self.events:
            edge = [a.name for a in self.arms if self.tuned(event, a, results).at_edge]
            if edge:
                found.append(f"{event.name}: the best rate of {', '.join(edge)} lies at the edge of its widened grid.")
            for arm in self.arms:
                lost = sum(r.status == DIVERGED for r in self.results(event, arm, results))
                if lost:
                    found.append(f"{event.name}: {arm.name} diverged in {lost} of {self.seeds} runs; these score 0.")
        return found
