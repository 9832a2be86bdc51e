"""Does Adam exploit the geometry of the maximum norm, which a rotation of coordinates takes away?

Xie et al. (arXiv:2410.08198) prove rates for Adam by smoothness in the maximum norm, bounded by the (1,1)-norm of the
Hessian, where SGD's depend on its largest eigenvalue; they find the (1,1)-norm grown after a random rotation, which
slows Adam and not SGD. On the runs of the claim `explains`: both constants in the rotated and in the given coordinates
at the same weights and batches, Adam's speed in both, and whether either constant ranks all bases that the same rule
was tried in. The (1,1)-norm is an upper bound; the lower bound by sign vectors, which nobody has published, stands
beside it.
"""

import math
from typing import Any

import numpy as np

from adamantine import stats
from adamantine.evidence import above
from adamantine.explaining import board
from adamantine.explaining.arms import REFERENCE, SHARED
from adamantine.explaining.boards import Board, boards, expected, predictors, runs, slow
from adamantine.finding import Curve, Figure, Findings, Table
from adamantine.result import Results

__all__ = ["expected", "figures", "runs", "verdict"]

ROTATED = "all rotated"
CONSTANTS = {"OneOneNorm": "the (1,1)-norm", "MaxNormSmoothness": "smoothness in the maximum norm"}
RULES = ("Signum", "Lion", "Muon", "SGD")  # other rules than Adam's, or other updates in its coordinates


def _bases(b: Board) -> list[int]:
    """Arms that are AdamW in some coordinates."""
    names = [a.name for a in b.comparison.arms]
    return [i for i, n in enumerate(names) if n not in SHARED and not n.startswith((*RULES, "singular values"))]


def _grown(b: Board, name: str, results: Results) -> list[float]:
    """Log of the constant in rotated over that in given coordinates, one a measurement; none where not measured."""
    found = predictors(b, results).get(name)
    if found is None:
        return []
    names = [a.name for a in b.comparison.arms]
    x = np.log(found[0])
    return (x[names.index(ROTATED)] - x[names.index(REFERENCE)]).tolist()


def verdict(scale: str, results: Results) -> Findings:
    """What a rotation does to the constants and to the speed, and whether constants rank the bases."""
    found, words, notes = [], [], []
    for b in boards(scale):
        c, y = b.comparison, slow(b, results)
        names, keys = [a.name for a in c.arms], tuple(results.key(r) for r in b.shared(results))
        for name, said in CONSTANTS.items():
            statement = f"A rotation of all coordinates raises {said}"
            effect = stats.mean(_grown(b, name, results))
            found.append(above(statement, effect, 0.0, "times", c.name, keys, math.exp))
        statement = "Under a rotation of all coordinates Adam takes longer to its half-way loss"
        cost = stats.mean(y[names.index(ROTATED)].tolist())
        found.append(above(statement, cost, 0.0, "times the steps", c.name, c.keys(results, ROTATED), math.exp))
        kept = _bases(b)
        for name, said in CONSTANTS.items():
            own = predictors(b, results).get(name)
            s = board.UNTOLD if own is None else _scored(own[0][kept], y[kept])
            effect = stats.Effect(s.tau, s.low, s.high, c.seeds) if s.arms else stats.UNKNOWN
            statement = f"Bases with larger {said.removeprefix('the ')} are slower for Adam"
            found.append(above(statement, effect, 0.0, "Kendall's tau", c.name, keys))
        upper, lower, time = found[-5:-2]
        both = f"the (1,1)-norm {upper.effect:.3g}-fold, the lower bound {lower.effect:.3g}-fold, and "
        told = both if math.isfinite(upper.effect + lower.effect) else ""  # at the smallest scale neither is measured
        words.append(f"on {c.name} it raises {told}the steps {time.effect:.3g}-fold")
        notes += c.notes(results)
    notes.append("The source: the (1,1)-norm grows by a rotation, and Adam gets slower, on GPT-2 and ResNet-18.")
    return Findings(f"Of a rotation of all coordinates: {'; '.join(words)}.", tuple(found), tuple(notes))


def _scored(x: np.ndarray, y: np.ndarray) -> board.Score:
    return board.score(x, y, "slower", np.random.default_rng(0))


def figures(scale: str, results: Results) -> list[Any]:
    """Constants against speed, basis by basis."""
    drawn, rows = [], []
    for b in boards(scale):
        c, y, told = b.comparison, slow(b, results), predictors(b, results)
        kept, names = _bases(b), [a.name for a in b.comparison.arms]
        for name, said in CONSTANTS.items():
            if name in told:
                x = board.summary(told[name][0])
                bands = [stats.mean(y[i].tolist()) for i in kept]
                curves = tuple(
                    Curve(names[i], [float(x[i] / x[0])], [e.value], [e.low], [e.high], style="points")
                    for i, e in zip(kept, bands, strict=True)
                )
                caption = "AdamW in every basis: over the constant in the given one, and the log slow-down."
                title = f"{said.removeprefix('the ')} and speed, {c.name}"
                drawn.append(Figure(title, caption, said, "log slow-down", curves, x_scale="log"))
        for i in kept:
            cells = (board.summary(told[k][0])[i] if k in told else math.nan for k in CONSTANTS)
            rows.append((c.name, names[i], *map(float, cells), math.exp(float(y[i].mean()))))
    head = ("task", "basis", "(1,1)-norm", "maximum norm, from below", "times the steps")
    return [*drawn, Table("Bases", "Geometric means over stages and seeds.", head, tuple(rows))]
