"""Do gradients point to where training ends, more than those of a random walk would?

Guille-Escuret et al. (arXiv:2306.11922) report that along the paths of optimizers the cosine between gradient and the
way to the last iterate is almost always positive and stable, so that a restricted secant inequality and an error bound
hold along them. But the last iterate is where the steps led, and a walk without any landscape has a positive cosine
too, `1 / sqrt(T - t)` for steps of equal lengths. So the cosine is held against that null, on language and images, for
AdamW, SGD and Muon, with clipping and decaying rates as in practice.
"""

import math
from typing import Any

import numpy as np

from adamantine import retest, stats
from adamantine.comparison import Comparison
from adamantine.evidence import above
from adamantine.finding import Curve, Figure, Findings
from adamantine.result import Results
from adamantine.retest import ADAM, MUON, SGD, expected, runs

__all__ = ["expected", "figures", "runs", "verdict"]

LATE = 0.9  # of training, from where on the way that is left is too short to tell


def path(c: Comparison, arm: str, name: str, results: Results) -> tuple[np.ndarray, np.ndarray]:
    """Steps `[T]` and what was told of them when the run had ended, `[seeds, T]`."""
    found = c.results(arm, results)
    steps = [s for s in range(c.steps) if s % c.every == 0 or s == c.steps - 1]
    rows = [[float(x[-1]) if len(x := r.series(f"{name}/{s}")[1]) else math.nan for s in steps] for r in found]
    x = np.array(rows)
    told = ~np.isnan(x).all(0)
    return np.array(steps)[told], x[:, told]


def _early(c: Comparison, arm: str, name: str, results: Results, least: bool) -> list[float]:
    """The mean, or the least, before the last tenth of training; one a seed."""
    steps, x = path(c, arm, name, results)
    kept = x[:, steps < LATE * c.steps]
    return (np.nanmin(kept, 1) if least else np.nanmean(kept, 1)).tolist()


def verdict(scale: str, results: Results) -> Findings:
    """Whether cosines stay positive, and whether they exceed the null's."""
    found, words = [], []
    for c in retest.comparisons(scale):
        for arm in (ADAM, SGD, MUON):
            keys = c.keys(results, arm)
            lowest = stats.mean(_early(c, arm, "secant_ratio", results, True))
            statement = f"Along {arm}'s path every measured gradient points towards the end"
            found.append(above(statement, lowest, 0.0, "least cosine", c.name, keys))
            excess = stats.mean(_early(c, arm, "secant_excess", results, False))
            statement = f"Along {arm}'s path the cosine exceeds that of a random walk"
            found.append(above(statement, excess, 0.0, "mean cosine above the null", c.name, keys))
        one = found[-5]
        words.append(f"by {one.effect:.3g} ({one.interval[0]:.3g} to {one.interval[1]:.3g}) on {c.name}")
    answer = f"Cosines of AdamW's gradients with the way to its end exceed those of a random walk {'; '.join(words)}."
    notes = [
        "The source: almost always positive and stable, from 0.001 on ImageNet; it compares with no null.",
        "Minibatch gradients: noise lowers the cosine. The last tenth of training is left out of all numbers.",
    ]
    return Findings(answer, tuple(found), tuple(notes))


def figures(scale: str, results: Results) -> list[Any]:
    """Cosines over training with the null."""
    drawn = []
    for c in retest.comparisons(scale):
        curves = []
        for arm in (ADAM, SGD, MUON):
            steps, x = path(c, arm, "secant_ratio", results)
            bands = [stats.mean(column[np.isfinite(column)].tolist()) for column in x.T]
            y, low, high = ([getattr(b, part) for b in bands] for part in ("value", "low", "high"))
            curves.append(Curve(arm, steps.tolist(), y, low, high, group=arm))
        steps = path(c, ADAM, "secant_ratio", results)[0]
        null = [1 / math.sqrt(max(c.steps - int(s), 1)) for s in steps]
        curves.append(Curve("random walk", steps.tolist(), null, style="dash"))
        caption = f"Mean over {c.seeds} seeds with 95 % intervals; at the end every cosine tends to one."
        drawn.append(Figure(f"Gradient and the way to the end, {c.name}", caption, "step", "cosine", tuple(curves)))
    return drawn
