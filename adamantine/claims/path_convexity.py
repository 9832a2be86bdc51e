"""Which assumptions of convex and of smooth analysis hold along the paths that optimizers take?

Tran, Zhang & Cutkosky (arXiv:2407.01825) evaluate along training what proofs use at every step: that the loss falls by
less than the slope promises, `<g, u> >= f(w) - f(w - u)`, as for convex losses, and that smoothness predicts how far it
falls. They find that identities of convexity often hold although the loss is not convex, and that smoothness fails to
predict progress. Here the ratio of sums over training, `sum <g, u> / sum (f(w) - f(w - u))`, is held against 1 on the
batches that made the updates, and the quadratic model `<g, u> - u' H u / 2` against what happened on other batches.
"""

import math
from typing import Any

import numpy as np

from adamantine import retest, stats
from adamantine.comparison import Comparison
from adamantine.evidence import above
from adamantine.finding import Findings, Table
from adamantine.result import Results
from adamantine.retest import ADAM, MUON, SGD, expected, runs

__all__ = ["expected", "figures", "runs", "verdict"]


def ratio(c: Comparison, arm: str, results: Results) -> list[float]:
    """Of the sums over the measured steps; one a seed."""
    slope, fall = (retest.series(c, arm, f"convexity_{k}", results)[1] for k in ("slope", "decrease"))
    return (np.nansum(slope, 1) / np.nansum(fall, 1)).tolist()


def agreement(c: Comparison, arm: str, results: Results, predicted: str) -> list[float]:
    """Rank correlation over training of a prediction with the decrease on fresh batches; one a seed."""
    x = retest.series(c, arm, predicted, results)[1]
    y = retest.series(c, arm, "fresh_actual_decrease", results)[1]
    out = []
    for a, b in zip(x, y, strict=True):
        told = np.isfinite(a) & np.isfinite(b)
        out.append(stats.kendall(a[told].tolist(), b[told].tolist())[0] if told.sum() > 3 else math.nan)
    return out


def smooth(c: Comparison, arm: str, results: Results) -> list[float]:
    """The rank correlation over training of what smoothness alone says, larger curvature, less decrease."""
    x = retest.series(c, arm, "smoothness", results)[1]
    y = retest.series(c, arm, "fresh_actual_decrease", results)[1]
    return [stats.kendall((-a).tolist(), b.tolist())[0] for a, b in zip(x, y, strict=True)]


def verdict(scale: str, results: Results) -> Findings:
    """Convexity along the path, and what predicts progress."""
    found, words = [], []
    for c in retest.comparisons(scale):
        for arm in (ADAM, SGD, MUON):
            keys = c.keys(results, arm)
            statement = f"Along {arm}'s path the loss is convex in the sense of the sums"
            convex = stats.mean([x - 1 for x in ratio(c, arm, results)])
            found.append(above(statement, convex, 0.0, "above a ratio of one", c.name, keys))
            statement = f"Smoothness alone orders the steps of {arm} by how far the loss falls"
            found.append(above(statement, retest.tau(smooth(c, arm, results)), 0.0, "Kendall's tau", c.name, keys))
            statement = f"The quadratic model along the update orders the steps of {arm} by how far the loss falls"
            model = retest.tau(agreement(c, arm, results, "fresh_predicted_decrease"))
            found.append(above(statement, model, 0.0, "Kendall's tau", c.name, keys))
        one = found[-9]
        words.append(f"{1 + one.effect:.3g} ({1 + one.interval[0]:.3g} to {1 + one.interval[1]:.3g}) on {c.name}")
    answer = f"The ratio of slopes to falls along AdamW's path, at least one for convex losses, is {'; '.join(words)}."
    notes = [
        "The source: convexity ratios above one on most practical models, smoothness unrelated to progress.",
        "Falls are those on the very batch of the step, as regret bounds have them.",
    ]
    return Findings(answer, tuple(found), tuple(notes))


def figures(scale: str, results: Results) -> list[Any]:
    """Convexity ratio and smoothness over training, and the numbers."""
    drawn, rows = [], []
    for c in retest.comparisons(scale):
        title = f"Convexity of single steps, {c.name}"
        drawn.append(retest.figure(c, ["convexity_ratio"], results, title, "<g, u> / fall", log=False))
        for arm in (ADAM, SGD, MUON):
            model = stats.mean(agreement(c, arm, results, "fresh_predicted_decrease")).value
            cells = stats.mean(ratio(c, arm, results)).value, stats.mean(smooth(c, arm, results)).value, model
            rows.append((c.name, arm, *cells))
    head = ("task", "optimizer", "convexity ratio", "tau of smoothness", "tau of the quadratic model")
    return [*drawn, Table("Assumptions along the path", "Means over seeds.", head, tuple(rows))]
