"""Does the spectral condition say where orthogonalized steps are the better ones?

Davis & Drusvyatskiy (arXiv:2512.04299): a spectral step promises more than a Euclidean one where the nuclear rank of
the gradient of a matrix, `|G|_*^2 / |G|_F^2`, exceeds the stable rank of its inputs, `|A|_F^2 / |A|_op^2`. It is
measured along AdamW's path for every linear layer; and Muon is timed against AdamW and SGD, all tuned. The condition
should hold on the tasks on which Muon wins, and not on those on which it loses.
"""

import math
from typing import Any

import numpy as np
import torch

from adamantine import retest, stats
from adamantine.comparison import Comparison
from adamantine.evidence import above
from adamantine.finding import Findings, Table
from adamantine.result import Results
from adamantine.retest import ADAM, MUON, SGD, expected, runs

__all__ = ["expected", "figures", "runs", "verdict"]

CONDITION = "spectral_condition"


def _held(c: Comparison, results: Results) -> list[float]:
    """Log of the condition's quotient along AdamW's path, the mean over training; one a seed."""
    x = retest.series(c, ADAM, CONDITION, results)[1]
    return [float(np.log(row[row > 0]).mean()) if (row > 0).any() else math.nan for row in x]


def verdict(scale: str, results: Results) -> Findings:
    """The condition, Muon's advantage, and whether they agree."""
    found, words = [], []
    for c in retest.comparisons(scale):
        held = stats.mean(_held(c, results))
        statement = "The nuclear rank of gradients exceeds the stable rank of inputs"
        found.append(above(statement, held, 0.0, "times", c.name, c.keys(results, ADAM), math.exp))
        for other in (SGD, ADAM):
            gain = c.against(MUON, other, results)
            statement = f"Muon ends lower than {other}"
            flipped = stats.Effect(-gain.value, -gain.high, -gain.low, gain.n, gain.level)
            unit = f"% lower {c.metric} loss"
            found.append(above(statement, flipped, 0.0, unit, c.name, c.keys(results, MUON, other), _percent))
        condition, over, _ = found[-3:]
        words.append(f"{condition.effect:.3g} on {c.name}, where Muon ends {over.effect:.3g} % below SGD")
    answer = f"Nuclear over stable rank: {'; '.join(words)}."
    notes = [n for c in retest.comparisons(scale) for n in c.notes(results)]
    notes.append("Convolutions, whose inputs no linear layer sees, take no part in the condition.")
    return Findings(answer, tuple(found), tuple(notes))


def _percent(x: float) -> float:
    """From the logarithm of a ratio."""
    return 100 * (1 - math.exp(-x))


def figures(scale: str, results: Results) -> list[Any]:
    """The condition over training, layer by layer at the end."""
    drawn, rows = [], []
    for c in retest.comparisons(scale):
        title = f"Nuclear rank over stable rank, {c.name}"
        drawn.append(retest.figure(c, [CONDITION], results, title, "quotient"))
        r = c.results(ADAM, results)[0]
        layers = [k for k in c.task.init(torch.Generator()) if len(r.series(f"{CONDITION}/{k}")[1])]
        for k in layers:
            parts = ("gradient_nuclear_rank", "activation_stable_rank", CONDITION)
            rows.append((c.name, k, *(float(np.mean(r.series(f"{p}/{k}")[1])) for p in parts)))
    head = ("task", "layer", "nuclear rank", "stable rank", "quotient")
    return [*drawn, Table("Layers", "Means over training of the first seed of AdamW.", head, tuple(rows))]
