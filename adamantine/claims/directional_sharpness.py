"""Do the updates of adaptive optimizers meet less curvature than those of SGD?

Pan & Li (arXiv:2306.00204) measure the curvature along the update, `u' H u / |u|^2`, and find that of SGD far above
that of adaptive methods on language tasks, by a few coordinates. Here AdamW, SGD with momentum and Muon, each tuned,
are measured along their own paths, on batches apart from those that made the update, on language and on images with a
perceptron and a ResNet. Curvature along a unit direction does not depend on the length of the step, but the places do:
so the ratio to the largest curvature there is told as well, which takes out where the optimizer has led.
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

ALONG, LARGEST = "fresh_directional_sharpness", "smoothness"


def _level(c: Comparison, arm: str, results: Results, relative: bool) -> list[float]:
    """Log of the median over training of the curvature along the update, one a seed."""
    x = retest.series(c, arm, ALONG, results)[1]
    if relative:
        x = x / retest.series(c, arm, LARGEST, results)[1]
    told = np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in x])
    return [math.log(v) if v > 0 else math.nan for v in told]


def verdict(scale: str, results: Results) -> Findings:
    """SGD over AdamW and over Muon, absolutely and as a share of the largest curvature."""
    found, words = [], []
    for c in retest.comparisons(scale):
        for other in (ADAM, MUON):
            for relative in (False, True):
                ratio = [a - b for a, b in zip(*(_level(c, k, results, relative) for k in (SGD, other)), strict=True)]
                effect = stats.mean(ratio)
                share = ", as a share of the largest curvature there," if relative else ""
                statement = f"The curvature along SGD's updates{share} exceeds that along {other}'s"
                keys = c.keys(results, SGD, other)
                found.append(above(statement, effect, 0.0, f"times that of {other}", c.name, keys, math.exp))
        first = found[-4]
        words.append(f"{first.effect:.3g} ({first.interval[0]:.3g} to {first.interval[1]:.3g}) on {c.name}")
    answer = f"The curvature along SGD's updates is so many times that along AdamW's: {'; '.join(words)}."
    notes = [n for c in retest.comparisons(scale) for n in c.notes(results)]
    notes.append("The source: SGD's is larger by one to several orders of magnitude, on larger language models.")
    return Findings(answer, tuple(found), tuple(notes))


def figures(scale: str, results: Results) -> list[Any]:
    """Curvature along updates over training, and the numbers."""
    drawn, rows = [], []
    for c in retest.comparisons(scale):
        drawn.append(retest.figure(c, [ALONG], results, f"Curvature along updates, {c.name}", "u' H u / |u|^2"))
        for arm in (ADAM, SGD, MUON):
            cells = [stats.mean(_level(c, arm, results, relative)) for relative in (False, True)]
            rows.append((c.name, arm, *(math.exp(e.value) for e in cells)))
    head = ("task", "optimizer", "along the update", "over the largest")
    return [
        *drawn,
        Table("Curvature along updates", "Medians over training, means over seeds.", head, tuple(rows)),
    ]
