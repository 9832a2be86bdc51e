"""How well a number ranks optimizers by speed: concordance with an interval, permutation p-value, slope, transfer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats

LEAST = 8  # arms, below which no concordance is told


@dataclass(frozen=True)
class Score:
    """What a predictor is worth: `tau` over the pairs of arms whose speeds differ, with its interval.

    `tau` is counted so that 1 means what theory says; `pairs` of `arms` take part; `p` is the two-sided chance of as
    large a value when the predictor is dealt at random to the arms; `slope` is that of log slow-down on the log of the
    predictor, by least squares, NaN where that is not positive.
    """

    tau: float
    low: float
    high: float
    p: float
    slope: float
    arms: int
    pairs: int


UNTOLD = Score(math.nan, math.nan, math.nan, math.nan, math.nan, 0, 0)


def score(predictor: np.ndarray, slow: np.ndarray, larger: str, rng: np.random.Generator, draws: int = 1000) -> Score:
    """Of `predictor [arms, measurements]` for `slow [arms, seeds]`, log slow-downs paired by seed.

    Pairs of arms count whose mean slow-downs differ by more than Student's 95 % interval over seeds; a predictor with
    less than two different values, or known for fewer than eight arms, tells nothing. The interval resamples arms,
    seeds and measurements, 1,000 times.
    """
    known = np.isfinite(slow).all(1) & ~np.isnan(predictor).any(1)
    x, y = summary(predictor[known]), slow[known]
    sign = 1.0 if larger == "slower" else -1.0
    if known.sum() < LEAST or np.ptp(_ranks(x)) == 0:
        return UNTOLD
    apart, mean = resolved(y), y.mean(1)
    tau = sign * _concordance(x, mean, apart)
    boot = np.empty(draws)
    for i in range(draws):
        arms = rng.integers(len(y), size=len(y))
        seeds = rng.integers(y.shape[1], size=y.shape[1])
        kept = rng.integers(predictor.shape[1], size=predictor.shape[1])
        drawn = summary(predictor[known][arms][:, kept])
        boot[i] = sign * _concordance(drawn, y[arms][:, seeds].mean(1), apart[np.ix_(arms, arms)])
    null = np.array([_concordance(rng.permutation(x), mean, apart) for _ in range(draws)])
    p = (1 + np.sum(np.abs(null) >= abs(tau) - 1e-12)) / (1 + draws)
    low, high = np.nanquantile(boot, [0.025, 0.975]) if np.isfinite(boot).any() else (math.nan, math.nan)
    pairs = int(apart.sum()) // 2
    return Score(tau, float(low), float(high), float(p), _slope(x, mean), int(known.sum()), pairs)


def tau(predictor: np.ndarray, slow: np.ndarray, larger: str) -> float:
    """The concordance alone, as in `score`; NaN where that tells nothing."""
    known = np.isfinite(slow).all(1) & ~np.isnan(predictor).any(1)
    x, y = summary(predictor[known]), slow[known]
    if known.sum() < LEAST or np.ptp(_ranks(x)) == 0:
        return math.nan
    return (1.0 if larger == "slower" else -1.0) * _concordance(x, y.mean(1), resolved(y))


def resolved(slow: np.ndarray) -> np.ndarray:
    """Whether rows of `slow [arms, seeds]` differ beyond the 95 % interval of their paired mean, `[arms, arms]`."""
    apart = slow[:, None] - slow[None]
    n = slow.shape[1]
    half = scipy_stats.t.ppf(0.975, n - 1) * apart.std(2, ddof=1) / math.sqrt(n) if n > 1 else np.inf
    return np.abs(apart.mean(2)) > half


def transfer(scores: Mapping[str, Mapping[str, Score]]) -> dict[str, tuple[str, float, float]]:
    """For each task, the predictor that is best on all others, its mean concordance there, and its concordance here.

    `scores` are by task and predictor; predictors that some other task does not tell take no part.
    """
    out = {}
    for task in scores:
        others = [scores[t] for t in scores if t != task]
        names = [k for k in scores[task] if all(k in s and math.isfinite(s[k].tau) for s in others)]
        if not others or not names:
            out[task] = ("", math.nan, math.nan)
            continue
        best = max(names, key=lambda k: np.mean([s[k].tau for s in others]))
        out[task] = (best, float(np.mean([s[best].tau for s in others])), scores[task][best].tau)
    return out


def luck(arms: int, slow: np.ndarray, tried: int, rng: np.random.Generator, draws: int = 200) -> float:
    """The concordance that the best of `tried` random predictors exceeds in one draw of twenty."""
    y, apart = slow.mean(1), resolved(slow)
    best = [max(abs(_concordance(rng.random(arms), y, apart)) for _ in range(tried)) for _ in range(draws)]
    return float(np.quantile(best, 0.95))


def summary(x: np.ndarray) -> np.ndarray:
    """One number an arm: the geometric mean over measurements where all are positive, else the mean; inf is largest."""
    if (x > 0).all():
        with np.errstate(divide="ignore"):
            return np.exp(np.log(x).mean(1))
    with np.errstate(invalid="ignore"):
        return x.mean(1)


def _concordance(x: np.ndarray, y: np.ndarray, apart: np.ndarray) -> float:
    """Share of the pairs `apart` ranked alike less that ranked the other way; ties count as half of either."""
    with np.errstate(invalid="ignore"):
        signs = np.sign(np.nan_to_num(x[:, None] - x[None], nan=0.0)) * np.sign(y[:, None] - y[None])
    return float(signs[apart].mean()) if apart.any() else math.nan


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks, in which values that agree to rounding are equal."""
    scale = np.max(np.abs(x[np.isfinite(x)]), initial=0.0)
    return scipy_stats.rankdata(np.where(np.isfinite(x), np.round(x / (scale or 1.0), 9), np.inf))


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    told = np.isfinite(x) & (x > 0)
    if told.sum() < LEAST or np.ptp(np.log(x[told])) == 0:
        return math.nan
    return float(np.polyfit(np.log(x[told]), y[told], 1)[0])
