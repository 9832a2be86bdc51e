"""A paired comparison of optimizers on one task, each at its own tuned rate: the protocol most claims share.

Every arm gets the same number of rates in the same geometric steps and the same tuning seeds; reporting seeds are
others, and the same for all arms, so that every difference is taken between runs that share initial weights and data.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adamantine import stats
from adamantine.part import Part
from adamantine.point import Task
from adamantine.result import Result, Results
from adamantine.run import Probe, Run
from adamantine.stats import Effect
from adamantine.tune import Tuned, tune


@dataclass(frozen=True)
class Arm:
    """One contestant: `make(rate, seed)` builds the optimizer; a random basis takes its seed from the run."""

    name: str
    make: Callable[[float, int], Part]
    grid: tuple[float, ...]
    probes: tuple[Probe, ...] = ()  # measured in the reporting runs


@dataclass(frozen=True)
class Comparison:
    """`arms` on `task`: which runs it takes, and what they say once they are in."""

    name: str
    task: Task
    arms: tuple[Arm, ...]
    steps: int
    seeds: int = 5
    tuning_seeds: int = 2
    widen: int = 3
    metric: str = "held_out"
    points: int = 20
    every: int = 10
    unit: str = "nats"

    def arm(self, name: str) -> Arm:
        """The arm called `name`."""
        return next(a for a in self.arms if a.name == name)

    def run(self, arm: Arm, rate: float, seed: int, role: str) -> Run:
        """One training run of `arm`; probes only where it reports."""
        probes = arm.probes if role == "report" else ()
        score_every = max(1, self.steps // self.points)
        return Run(self.task, arm.make(rate, seed), self.steps, seed, role, self.every, score_every, probes)

    def tuned(self, arm: Arm, results: Results) -> Tuned:
        """The arm's tuning so far."""
        return tune(
            results, lambda r, s, role: self.run(arm, r, s, role), arm.grid, self.tuning_seeds, self.metric, self.widen
        )

    def reporting(self, arm: Arm, results: Results) -> list[Run]:
        """The arm's reporting runs at its tuned rate; none while it is being tuned."""
        best = self.tuned(arm, results).best
        return [] if best is None else [self.run(arm, best, seed, "report") for seed in range(self.seeds)]

    def runs(self, results: Results) -> list[Run]:
        """Every run wanted so far."""
        return [r for arm in self.arms for r in (*self.tuned(arm, results).runs, *self.reporting(arm, results))]

    def results(self, name: str, results: Results) -> list[Result]:
        """The arm's reporting results, by seed. Raises LookupError while one is missing."""
        found = [results.get(run) for run in self.reporting(self.arm(name), results)]
        whole = [r for r in found if r is not None]
        if not found or len(whole) < len(found):
            raise LookupError(f"{self.name}: the arm {name!r} has not been run yet.")
        return whole

    def keys(self, results: Results, *names: str) -> tuple[str, ...]:
        """Keys of the reporting runs of these arms, of all arms when none is named."""
        return tuple(r.key for n in names or [a.name for a in self.arms] for r in self.results(n, results))

    def last(self, name: str, results: Results, metric: str = "") -> list[float]:
        """The final metric of every seed; infinite where the run diverged."""
        return [r.last(metric or self.metric) for r in self.results(name, results)]

    def against(self, name: str, reference: str, results: Results, level: float = 0.95) -> Effect:
        """Log ratio of the final metric, `name` over `reference`, paired by seed: 0.01 is one per cent worse."""
        return stats.paired(self.last(name, results), self.last(reference, results), level)

    def series(self, name: str, results: Results) -> tuple[np.ndarray, np.ndarray]:
        """Steps `[T]` and metric `[seeds, T]`; infinite from where a run diverged."""
        found = [r.series(self.metric) for r in self.results(name, results)]
        steps = max((x for x, _ in found), key=len)
        out = np.full((len(found), len(steps)), math.inf)
        for i, (_, y) in enumerate(found):
            out[i, : len(y)] = y
        return steps, out

    def targets(self, reference: str, results: Results, fractions: Sequence[float]) -> list[float]:
        """The reference's mean metric after these fractions of training: what the others are timed against."""
        steps, values = self.series(reference, results)
        return [float(np.interp(f * self.steps, steps, values.mean(0))) for f in fractions]

    def slowdown(self, name: str, reference: str, target: float, results: Results) -> tuple[Effect, int]:
        """Log ratio of the steps needed to reach `target`, paired by seed, and how many runs never reached it.

        Those count as if they had reached it at the last step, so that the ratio is then a lower bound.
        """
        own, other = (self.times(n, target, results) for n in (name, reference))
        missed = int(np.isinf(own).sum())
        log = np.log(np.minimum(own, self.steps)) - np.log(np.minimum(other, self.steps))
        return stats.mean(log.tolist()), missed

    def times(self, name: str, target: float, results: Results) -> np.ndarray:
        """Steps to `target`, one a seed; infinite where it was never reached."""
        steps, values = self.series(name, results)
        return np.array([stats.time_to(steps, v, target) for v in values])

    def window(self, name: str, results: Results, tolerance: float) -> float:
        """Decades of rate within `tolerance` of the best, from the tuning runs."""
        losses = self.tuned(self.arm(name), results).losses
        return stats.window_width([*losses], [*losses.values()], tolerance)

    def windows(self, name: str, results: Results, tolerance: float) -> list[float]:
        """As `window`, for each tuning seed by itself."""
        tuned = self.tuned(self.arm(name), results)
        rates, out = sorted(tuned.losses), []
        for seed in range(self.tuning_seeds):
            found = [results.get(self.run(self.arm(name), r, seed, "tune")) for r in rates]
            losses = [math.inf if f is None else f.last(self.metric) for f in found]
            out.append(stats.window_width(rates, losses, tolerance))
        return out

    def diverged(self, name: str, results: Results) -> list[float]:
        """The steps at which reporting runs of the arm diverged."""
        found = (r.series("diverged")[1] for r in self.results(name, results))
        return [float(x) for steps in found for x in steps]

    def notes(self, results: Results) -> list[str]:
        """What a reader of the verdicts must know: best rates at the edge of their grid, and arms that diverged."""
        found = []
        edge = [a.name for a in self.arms if self.tuned(a, results).at_edge]
        if edge:
            found.append(f"{self.name}: the best rate of {', '.join(edge)} lies at the edge of its widened grid.")
        for arm in self.arms:
            if steps := self.diverged(arm.name, results):
                often = f"{len(steps)} of {self.seeds} reporting runs, first at step {min(steps):.0f}"
                found.append(f"{self.name}: {arm.name} diverged in {often}; it counts as an infinite loss.")
        return found
