"""The tuned-rate protocol: equal grids for every arm, tuning seeds apart from reporting seeds.

`runs` of a claim is asked again as results come in, so tuning is a pure function of the results so far: it
says which runs it still wants, and the best rate once it has them. Tuning runs have role "tune" and share no
randomness with reporting runs. A best rate at the grid's edge widens the grid by one factor on that side.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adamantine.result import Result, Results
from adamantine.run import Run


@dataclass(frozen=True)
class Tuned:
    """What tuning knows so far, from `runs`.

    `best` is None until all of them are in; `losses` maps each finished rate to its mean metric over the
    tuning seeds (infinite if any seed diverged); `at_edge` says that widening stopped before the edge was left.
    """

    best: float | None
    losses: dict[float, float]
    runs: tuple[Run, ...]
    at_edge: bool = False


def tune(
    results: Results,
    make: Callable[[float, int, str], Run],
    grid: Sequence[float],
    seeds: int = 2,
    metric: str | Callable[[Result], float] = "held_out",
    widen: int = 3,
) -> Tuned:
    """Choose the rate with the lowest mean `metric` on `seeds` tuning seeds.

    `metric` is the name of a row or a function of a finished run, lower is better. `make(rate, seed, role)` builds the
    run; `grid` is geometric and the same for every arm. Raises ValueError for a grid of fewer than three rates: its
    middle could not be told from its edge.
    """
    rates = sorted(float(r) for r in grid)
    if len(rates) < 3 or rates[0] <= 0:
        raise ValueError(f"tune: the grid {rates} needs at least three positive rates.")
    factor = (rates[-1] / rates[0]) ** (1 / (len(rates) - 1))
    for widened in range(widen + 1):
        asked = {r: [make(r, seed, "tune") for seed in range(seeds)] for r in rates}
        if any(run.role != "tune" for runs in asked.values() for run in runs):
            raise ValueError("tune: `make` must pass its role on to the Run, or tuning leaks into reporting.")
        every = tuple(run for runs in asked.values() for run in runs)
        missing = [run for run in every if results.get(run) is None]
        losses = {}
        for r, runs in asked.items():
            found = [results.get(run) for run in runs]
            if all(f is not None for f in found):
                losses[r] = float(np.mean([_loss(f, metric) for f in found if f is not None]))
        if missing:
            return Tuned(None, losses, every)
        best = min(losses, key=lambda r: (losses[r], r))
        at_edge = best in (rates[0], rates[-1])
        if not at_edge or widened == widen:
            return Tuned(best, losses, every, at_edge)
        rates = [_round(best / factor), *rates] if best == rates[0] else [*rates, _round(best * factor)]
    raise AssertionError("unreachable: the last widening returns")


def _loss(result: Result, metric: str | Callable[[Result], float]) -> float:
    x = result.last(metric) if isinstance(metric, str) else metric(result)
    return math.inf if math.isnan(x) else x


def _round(x: float) -> float:
    """Four significant digits, so that rates reached from different sides are the same run."""
    return float(f"{x:.4g}")
