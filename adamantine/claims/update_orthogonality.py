"""Does the orthogonality of Adam's updates explain its speed across coordinates?

Maes, Zhang et al. (arXiv:2410.19964) find that the bases in which Adam is slow are those in which its updates are far
from orthogonal, and propose that as the explanation. Three tests on the runs of the claim `explains`: whether
orthogonality, measured at the same weights, ranks the arms by speed; whether arms that are equally fast are equally
orthogonal, for a rotated arm and its twin that shares the second moment; and whether it is a cause: updates whose
singular values are forced to be equal, in one basis and at one length, should be faster.
"""

import math
from typing import Any

import numpy as np

from adamantine import stats
from adamantine.evidence import above, within
from adamantine.explaining import board
from adamantine.explaining.arms import POWERS, REFERENCE, TWINS
from adamantine.explaining.boards import Board, boards, expected, predictors, runs, slow
from adamantine.finding import Curve, Figure, Findings, Table
from adamantine.result import Results

__all__ = ["expected", "figures", "runs", "verdict"]

NAME = "OrthogonalUpdate"
MARGIN = 0.1  # of the log of steps, within which two arms count as equally fast
FORCED = tuple(f"singular values to {x:g}" for x in POWERS)


def _names(b: Board) -> list[str]:
    return [a.name for a in b.comparison.arms]


def verdict(scale: str, results: Results) -> Findings:
    """Ranking, twins, and forced singular values."""
    found, words, notes = [], [], []
    for b in boards(scale):
        c, y, names = b.comparison, slow(b, results), _names(b)
        keys, told = tuple(results.key(r) for r in b.shared(results)), predictors(b, results).get(NAME)
        s = board.UNTOLD if told is None else board.score(told[0], y, "faster", np.random.default_rng(0))
        effect = stats.Effect(s.tau, s.low, s.high, c.seeds) if s.arms else stats.UNKNOWN
        found.append(above("Arms with more orthogonal updates are faster", effect, 0.0, "Kendall's tau", c.name, keys))
        words.append(f"tau {s.tau:.2f} ({s.low:.2f} to {s.high:.2f}) on {c.name}")
        for rotated, twin in TWINS.items():
            i, j = names.index(rotated), names.index(twin)
            same = stats.mean((y[i] - y[j]).tolist())
            both = c.keys(results, rotated, twin)
            statement = f"AdamW with {rotated} is as fast as with {twin}"
            found.append(within(statement, same, MARGIN, "times the steps", c.name, both, math.exp))
            if told is not None:
                gap = stats.mean((told[0][i] - told[0][j]).tolist())
                statement = f"Updates with {rotated} are more orthogonal than those with {twin}"
                found.append(above(statement, gap, 0.0, "of the nuclear rank's share", c.name, keys))
        for name in (n for n in FORCED if n in names):
            gain = stats.mean((-y[names.index(name)]).tolist())
            statement = f"Updates with {name}, at equal length, get to the half-way loss sooner"
            found.append(above(statement, gain, 0.0, "times fewer steps", c.name, c.keys(results, name), math.exp))
        notes += c.notes(results)
    notes.append("The source: orthogonality orders six bases of GPT-2 as their speed does.")
    answer = f"Concordance of orthogonality with speed: {'; '.join(words)}."
    return Findings(answer, tuple(found), tuple(notes))


def figures(scale: str, results: Results) -> list[Any]:
    """Orthogonality against speed, and the numbers of twins and forced updates."""
    drawn, rows = [], []
    for b in boards(scale):
        c, y, names, told = b.comparison, slow(b, results), _names(b), predictors(b, results).get(NAME)
        if told is None:
            continue
        x, bands = board.summary(told[0]), [stats.mean(row.tolist()) for row in y]
        curves = tuple(
            Curve(n, [float(v)], [e.value], [e.low], [e.high], style="points")
            for n, v, e in zip(names, x, bands, strict=True)
            if math.isfinite(v)
        )
        caption = "Every arm: mean over matrices, stages and seeds at the same weights, and the log slow-down."
        drawn.append(
            Figure(f"Orthogonality and speed, {c.name}", caption, "nuclear rank / rank", "log slow-down", curves)
        )
        shown = (REFERENCE, *TWINS, *TWINS.values(), *(n for n in FORCED if n in names))
        at = [names.index(n) for n in shown]
        rows += [(c.name, names[i], float(x[i]), math.exp(bands[i].value)) for i in at]
    head = ("task", "arm", "orthogonality", "times the steps")
    return [*drawn, Table("Twins and forced updates", "Orthogonality: 1 for equal singular values.", head, tuple(rows))]
