"""Does the gap between Adam and SGD come from minibatch noise?

Heavy-tailed noise was proposed as the reason why Adam beats SGD on Transformers. Kunstner et al. (arXiv:2304.13960)
take the noise away: on full batches the gap remains or grows, and sign descent with momentum closes most of it. Here a
fixed set of examples is seen in sixteenths, in quarters or all at once, with as many steps each and every arm tuned at
every batch size, on a small Transformer and, as the control, a perceptron on images, where the gap should be small.
"""

import math
from typing import Any

from adamantine import stats
from adamantine.comparison import Comparison
from adamantine.evidence import above
from adamantine.explaining import intervention
from adamantine.explaining.batch_share import ADAM, LEAST, SGD, SIGN, comparisons
from adamantine.finding import Curve, Figure, Findings, Table
from adamantine.result import Results
from adamantine.run import Run

CLOSED = 0.5  # of the gap


def runs(scale: str, results: Results) -> list[Run]:
    """Tuning and reporting of all."""
    return [run for own in comparisons(scale).values() for c in own for run in c.runs(results)]


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    every = [c for own in comparisons(scale).values() for c in own]
    return sum(len(c.arms) * (c.tuning_seeds * len(c.arms[0].grid) + c.seeds) for c in every)


def gap(c: Comparison, results: Results, other: str = ADAM) -> list[float]:
    """Log of SGD's final training loss over the other's, by seed."""
    return intervention.gap(c, other, SGD, LEAST, results)


def verdict(scale: str, results: Results) -> Findings:
    """The gap on full batches, against that on the smallest, and how much of it signs close."""
    found, words, notes = [], [], []
    for name, own in comparisons(scale).items():
        few, whole = own[0], own[-1]
        here, there = gap(whole, results), gap(few, results)
        keys = (*few.keys(results), *whole.keys(results))
        statement = "Without noise SGD ends higher than Adam"
        found.append(above(statement, stats.mean(here), 0.0, "times", name, whole.keys(results), math.exp))
        grown = stats.mean([a - b for a, b in zip(here, there, strict=True)])
        statement = "The gap is larger without noise than with the most of it"
        found.append(above(statement, grown, 0.0, "times the gap", name, keys, math.exp))
        closed = [s / g if g > 0 else math.nan for s, g in zip(gap(whole, results, SIGN), here, strict=True)]
        statement = "Without noise, sign descent with momentum closes at least half of the gap"
        share = stats.mean(closed) if stats.mean(here).above(0) else stats.UNKNOWN
        found.append(above(statement, share, CLOSED, "of the gap", name, whole.keys(results)))
        first, more, _ = found[-3:]
        words.append(f"{first.effect:.3g} times as high on {name}, {more.effect:.3g} times the gap with noise")
        notes += [n for c in own for n in c.notes(results)]
    notes.append("The source: the gap grows with the batch, and signs with momentum close most of it.")
    return Findings(f"On all examples at once SGD ends {'; '.join(words)}.", tuple(found), tuple(notes))


def figures(scale: str, results: Results) -> list[Any]:
    """The gap over batch sizes, and the losses."""
    curves, rows = [], []
    for name, own in comparisons(scale).items():
        for other in (ADAM, SIGN):
            bands = [stats.mean(gap(c, results, other)) for c in own]
            y, low, high = ([getattr(e, part) for e in bands] for part in ("value", "low", "high"))
            x = [c.task.at_once for c in own]  # pyright: ignore[reportAttributeAccessIssue]
            style = "line" if other == ADAM else "dash"
            curves.append(Curve(f"{name}: SGD over {other}", x, y, low, high, group=name, style=style))
        for c in own:
            cells = (f"{stats.mean(c.last(a.name, results)).value:.4g}" for a in c.arms)
            rows.append((c.name, *cells))
    caption = "Log of the final training losses' ratio, each arm tuned at each batch size; 95 % intervals over seeds."
    drawn = Figure("The gap and the batch", caption, "batches at once", "log ratio", tuple(curves), x_scale="log")
    return [drawn, Table("Final training losses", "Means over seeds.", ("task", ADAM, SGD, SIGN), tuple(rows))]
