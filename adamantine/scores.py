"""Statistics of scores over tasks and seeds, higher is better (Agarwal et al. 2021, arXiv:2108.13264).

Scores are arrays a task, one score a seed, on a scale on which tasks may be averaged. Bootstraps are stratified: seeds
are drawn anew within each task. `tests/test_scores.py` simulates the coverage of every interval given here.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats as scipy_stats

from adamantine.stats import Effect

Scores = Sequence[np.ndarray]
DRAWS = 2000


def iqm(scores: Scores) -> float:
    """Interquartile mean: of the middle half of all scores together."""
    return float(scipy_stats.trim_mean(np.sort(np.concatenate(scores)), 0.25))


def iqm_interval(scores: Scores, level: float = 0.95, seed: int = 0) -> Effect:
    """The interquartile mean, with its percentile bootstrap."""
    return _bootstrap(lambda drawn: iqm([x[k] for x, k in zip(scores, drawn, strict=True)]), scores, level, seed)


def iqm_difference(a: Scores, b: Scores, level: float = 0.95, seed: int = 0) -> Effect:
    """Interquartile mean of `a` less that of `b`, pairs of seeds drawn together. ValueError where they do not pair."""
    _paired(a, b)

    def difference(drawn: list[np.ndarray]) -> float:
        own, other = ([x[k] for x, k in zip(scores, drawn, strict=True)] for scores in (a, b))
        return iqm(own) - iqm(other)

    return _bootstrap(difference, a, level, seed)


def improvement(a: Scores, b: Scores, level: float = 0.95, seed: int = 0) -> Effect:
    """Probability that a run of `a` scores higher than one of `b`, ties half, mean over tasks (Mann-Whitney)."""
    _paired(a, b)

    def probability(drawn: list[np.ndarray]) -> float:
        wins = [_wins(x[k], y[k]) for x, y, k in zip(a, b, drawn, strict=True)]
        return float(np.mean(wins))

    return _bootstrap(probability, a, level, seed)


def optimality_gap(scores: Scores, best: float = 1.0) -> float:
    """How far scores stay below `best` on average, those above it counted as there."""
    return float(best - np.minimum(np.concatenate(scores), best).mean())


def profile(scores: Scores, thresholds: Sequence[float]) -> np.ndarray:
    """Share of runs above each threshold, mean over tasks: the performance profile."""
    return np.array([[(x > t).mean() for t in thresholds] for x in scores]).mean(0)


def rate(events: int, of: int, level: float = 0.95) -> Effect:
    """A share, such as that of runs that collapsed, with Clopper and Pearson's exact interval."""
    test = scipy_stats.binomtest(events, of).proportion_ci(level, "exact")
    return Effect(events / of, float(test.low), float(test.high), of, level)


def share_near_best(scores: Sequence[float], low: float, near: float = 0.9) -> float:
    """Share of a grid of rates that reaches `near` of the way from `low` to its best; what is not finite is `low`."""
    x = np.where(np.isfinite(scores), scores, low)
    return float((x - low >= near * (x.max() - low)).mean())


def by_rank(scores: Scores) -> list[np.ndarray]:
    """Every score replaced by its place in the distribution of all scores of its task, in [0, 1], ties half.

    Scores of different tasks can then be averaged whatever their scales (Patterson et al., arXiv:2407.18840).
    """
    return [(scipy_stats.rankdata(x.reshape(-1)) - 0.5).reshape(x.shape) / x.size for x in scores]


def _wins(a: np.ndarray, b: np.ndarray) -> float:
    return float((a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean())


def _paired(a: Scores, b: Scores) -> None:
    if [len(x) for x in a] != [len(y) for y in b]:
        raise ValueError("scores: the two have different tasks or seeds; pairs need one of each.")


def _bootstrap(statistic: Callable[[list[np.ndarray]], float], like: Scores, level: float, seed: int) -> Effect:
    """Of a function of chosen seeds a task."""
    rng = np.random.default_rng(seed)
    n = min(len(x) for x in like)
    value = statistic([np.arange(len(x)) for x in like])
    if n < 2:
        return Effect(value, -np.inf, np.inf, n, level)
    drawn = [statistic([rng.integers(len(x), size=len(x)) for x in like]) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Effect(value, float(low), float(high), n, level)
