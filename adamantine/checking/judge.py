"""From a constant measured along training to a verdict: it holds, it is violated, or it cannot be told."""

import math
from dataclasses import dataclass

import numpy as np

from adamantine import stats

HOLDS, VIOLATED, UNKNOWN = "holds", "violated", "not detectable"


@dataclass(frozen=True)
class Judgement:
    """`verdict`, its reason in a sentence, and the constant that serves for all of training, with an interval."""

    verdict: str
    why: str
    constant: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Stages:
    """Means over seeds at each measured step with Student's 95 % intervals, `[T]`; geometric where all is positive."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def stages(steps: np.ndarray, values: np.ndarray) -> Stages:
    """Of `values [seeds, T]`, NaN where a seed was not told; on logarithms where all of them are above zero."""
    known = values[~np.isnan(values)]
    logs = len(known) > 0 and bool((known > 0).all())
    found = [_mean([x for x in column if not math.isnan(x)], logs) for column in values.T]
    mean, low, high = np.array(found, dtype=float).reshape(-1, 3).T
    return Stages(np.asarray(steps), mean, low, high)


def _mean(x: list[float], logs: bool) -> tuple[float, float, float]:
    """With its interval, NaN where there are less than two."""
    e = stats.mean([math.log(v) for v in x] if logs else x)
    told = (e.value, e.low, e.high) if e.n > 1 else (e.value, math.nan, math.nan)
    return tuple(math.exp(v) if logs and v < 700 else v for v in told)  # pyright: ignore[reportReturnType]


def judge(steps: np.ndarray, values: np.ndarray, larger: str, growth: float = 10.0) -> Judgement:
    """By these rules, in order, for `values [seeds, T]`, NaN where not told; their noise is in the spread of seeds.

    Not detectable: no number, or at more than half of the steps the interval over seeds holds zero. Violated: a
    constant that bounds from above (`larger` is "slower") is infinite at a step; one that bounds from below ("faster")
    lies with its interval below zero at a step; or no one constant serves: one that bounds from above is at the end
    (last quarter) more than `growth` times what it is at the start (first quarter), by the ends of the intervals that
    are nearest, one that bounds from below less than its `growth`-th part. Else it holds, with the largest mean over
    the steps for a bound from above, the smallest for one from below.
    """
    told = stages(steps, np.where(np.isposinf(values) & (larger == "faster"), np.nan, values))
    finite = ~np.isnan(told.mean)
    if not finite.any():
        return Judgement(UNKNOWN, "It could not be measured at any step.")
    if np.isinf(told.mean[finite]).any():
        at = told.steps[finite][np.isinf(told.mean[finite])][0]
        return Judgement(VIOLATED, f"No finite constant serves at step {at:g}.", math.inf, math.inf, math.inf)
    low, high = (np.where(np.isnan(x), told.mean, x) for x in (told.low, told.high))
    lost = finite & (low <= 0) & (high >= 0)
    if lost.sum() > finite.sum() / 2:
        share = f"{int(lost.sum())} of {int(finite.sum())}"
        return Judgement(UNKNOWN, f"At {share} steps it cannot be told from zero; give larger batches or more seeds.")
    worst = int((np.nanargmax if larger == "slower" else np.nanargmin)(np.where(finite, told.mean, np.nan)))
    constant = float(told.mean[worst]), float(low[worst]), float(high[worst])
    if larger == "faster" and (high[finite] < 0).any():
        at = told.steps[finite][high[finite] < 0][0]
        return Judgement(VIOLATED, f"It is below zero at step {at:g}.", *constant)
    first, last = _quarter(told.steps, finite, True), _quarter(told.steps, finite, False)
    factor = _factor(low, high, first, last, larger) if first.any() and last.any() else 1.0
    if factor > growth:
        word = "grows" if larger == "slower" else "falls"
        why = f"It {word} along training by a factor of at least {factor:.3g}: no one constant serves."
        return Judgement(VIOLATED, why, *constant)
    return Judgement(HOLDS, "One constant serves for all of training.", *constant)


def _factor(low: np.ndarray, high: np.ndarray, first: np.ndarray, last: np.ndarray, larger: str) -> float:
    """By how much the constant moves the wrong way, by the nearest ends of its intervals; 1 where it does not."""
    if larger == "slower":
        above, below = float(np.min(low[last])), float(np.max(high[first]))
    else:
        above, below = float(np.min(low[first])), float(np.max(high[last]))
    return above / below if above > 0 and below > 0 else 1.0


def _quarter(steps: np.ndarray, finite: np.ndarray, first: bool) -> np.ndarray:
    span = steps[-1] - steps[0]
    edge = steps[0] + span / 4 if first else steps[-1] - span / 4
    return finite & ((steps <= edge) if first else (steps >= edge)) if span else finite & False
