"""Statistics that a claim may rest on: paired comparison, equivalence, slow-down, rank agreement.

Below ten seeds the intervals are Student's t on log loss: a percentile bootstrap of three seeds that is
labelled 95 % covers 71 %. `tests/test_stats.py` simulates the coverage of every interval given here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats


@dataclass(frozen=True)
class Effect:
    """An estimate with its interval at `level`, from `n` independent units."""

    value: float
    low: float
    high: float
    n: int
    level: float = 0.95

    @property
    def interval(self) -> tuple[float, float]:
        """`(low, high)`."""
        return self.low, self.high

    def above(self, bound: float) -> bool:
        """Whether the whole interval lies above `bound`."""
        return self.low > bound

    def below(self, bound: float) -> bool:
        """Whether the whole interval lies below `bound`."""
        return self.high < bound

    def within(self, margin: float) -> bool:
        """Whether the whole interval lies inside `[-margin, margin]`: equivalence by confidence interval."""
        return -margin < self.low and self.high < margin


UNKNOWN = Effect(math.nan, -math.inf, math.inf, 0)


def mean(x: Sequence[float], level: float = 0.95) -> Effect:
    """Mean with Student's t interval; infinitely wide where there are fewer than two finite numbers.

    A value that is not finite (a diverged run) makes the estimate infinite and the interval unbounded on
    that side: it is counted, never dropped.
    """
    a = np.asarray(x, dtype=float)
    if np.isnan(a).any() or len(a) == 0:
        return UNKNOWN
    if np.isposinf(a).any() and np.isneginf(a).any():
        return Effect(math.nan, -math.inf, math.inf, len(a), level)
    if np.isposinf(a).any():
        return Effect(math.inf, float(a.min()) if np.isfinite(a.min()) else math.inf, math.inf, len(a), level)
    if np.isneginf(a).any():
        return Effect(-math.inf, -math.inf, float(a.max()) if np.isfinite(a.max()) else -math.inf, len(a), level)
    if len(a) < 2:
        return Effect(float(a.mean()), -math.inf, math.inf, len(a), level)
    half = float(scipy_stats.t.ppf(0.5 + level / 2, len(a) - 1) * a.std(ddof=1) / math.sqrt(len(a)))
    return Effect(float(a.mean()), float(a.mean()) - half, float(a.mean()) + half, len(a), level)


def paired(a: Sequence[float], b: Sequence[float], level: float = 0.95, log: bool = True) -> Effect:
    """Mean of `a - b` over shared seeds, on logarithms unless `log=False`, with Student's t interval.

    On logarithms the effect is the log ratio: 0.01 is one per cent. Raises ValueError where the two do not
    pair up or a logarithm is asked of a number that is not positive.
    """
    if len(a) != len(b):
        raise ValueError(f"paired: {len(a)} values against {len(b)}; pairs need one of each a seed.")
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if log:
        if (x <= 0).any() or (y <= 0).any():
            raise ValueError("paired: logarithms need positive values; pass log=False.")
        x, y = np.log(x), np.log(y)
    both = np.isinf(x) & np.isinf(y)  # two diverged arms say nothing about each other
    with np.errstate(invalid="ignore"):
        return mean(np.where(both, np.nan, x - y).tolist(), level)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given."""
    order = np.argsort(p)
    adjusted, running = np.empty(len(p)), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = running
    return adjusted.tolist()


def time_to(steps: np.ndarray, loss: np.ndarray, target: float) -> float:
    """First step at which the running minimum of `loss` reaches `target`, interpolated; infinity if never.

    Interpolation is linear in the loss between the two rows around the crossing.
    """
    best = np.minimum.accumulate(np.where(np.isfinite(loss), loss, np.inf))
    hit = np.flatnonzero(best <= target)
    if len(hit) == 0:
        return math.inf
    i = int(hit[0])
    if i == 0 or not math.isfinite(best[i - 1]):
        return float(steps[i])
    fraction = (best[i - 1] - target) / (best[i - 1] - best[i])
    return float(steps[i - 1] + fraction * (steps[i] - steps[i - 1]))


def rate_and_offset(own: Sequence[float], reference: Sequence[float]) -> tuple[float, float]:
    """Least-squares `(rate, offset)` of `own = offset + rate * reference`, times at several targets.

    A constant offset is a transient; a rate above 1 is a slow-down that lasts. Targets that one of the two
    never reached are left out; NaN where fewer than two remain.
    """
    x, y = np.asarray(reference, dtype=float), np.asarray(own, dtype=float)
    ok = np.isfinite(x) & np.isfinite(y)
    if ok.sum() < 2 or np.ptp(x[ok]) == 0:
        return math.nan, math.nan
    fit = np.polynomial.polynomial.polyfit(x[ok], y[ok], 1)
    return float(fit[1]), float(fit[0])


def window_width(rates: Sequence[float], losses: Sequence[float], tolerance: float) -> float:
    """Decades of rate over which the loss stays within `tolerance` (relative) of its best.

    Crossings are interpolated linearly in log rate; a window that reaches the grid's edge is cut there, so
    the number is then a lower bound.
    """
    order = np.argsort(rates)
    x = np.log10(np.asarray(rates, dtype=float)[order])
    y = np.asarray(losses, dtype=float)[order]
    if not np.isfinite(y).any():
        return 0.0
    y = np.where(np.isfinite(y), y, np.nanmax(np.where(np.isfinite(y), y, np.nan)) * 1e3)
    best = int(np.argmin(y))
    limit = y[best] * (1 + tolerance)
    edges = []
    for side in (-1, 1):
        i = best
        while 0 <= i + side < len(x) and y[i + side] <= limit:
            i += side
        edge = x[i]
        if 0 <= i + side < len(x):
            edge += (x[i + side] - x[i]) * (limit - y[i]) / (y[i + side] - y[i])
        edges.append(edge)
    return float(edges[1] - edges[0])


def iqm(x: Sequence[float]) -> float:
    """Interquartile mean: the mean of the middle half (Agarwal et al. 2021, arXiv:2108.13264)."""
    return float(scipy_stats.trim_mean(np.sort(np.asarray(x, dtype=float)), 0.25))


def bootstrap_ranks(
    scores: np.ndarray, rng: np.random.Generator, draws: int = 2000, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Rank intervals `[arms, 2]` and the probability of ranking first, by a hierarchical bootstrap.

    `scores` is `[arms, tasks, seeds]`, lower is better; tasks and, within each, seeds (shared by the arms, so
    pairs stay together) are resampled; an arm's score is its mean over tasks of its mean over seeds.
    """
    arms, tasks, seeds = scores.shape
    ranks = np.empty((draws, arms))
    for i in range(draws):
        t = rng.integers(tasks, size=tasks)
        k = rng.integers(seeds, size=(tasks, seeds))
        sample = np.stack([scores[:, a, k[j]].mean(1) for j, a in enumerate(t)]).mean(0)
        ranks[i] = scipy_stats.rankdata(sample)
    tail = (1 - level) / 2
    return np.quantile(ranks, [tail, 1 - tail], axis=0).T, (ranks == 1).mean(0)


def kendall(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Kendall's tau-b and its two-sided p-value."""
    tau, p = np.asarray(scipy_stats.kendalltau(x, y), dtype=float)
    return float(tau), float(p)
