"""Figures and tables of a contest: learning curves, sensitivity to the rate, and who beat whom by how much."""

from collections.abc import Sequence

import numpy as np

from adamantine import scores, stats
from adamantine.contest import Contest, Event
from adamantine.finding import Curve, Figure, Table
from adamantine.result import Results


def curves(c: Contest, event: Event, results: Results, names: Sequence[str] = ()) -> Figure:
    """Mean return against the steps of the optimizer, with the 95 % interval of the mean."""
    chosen = list(names) or [a.name for a in c.arms]
    drawn = []
    for name in chosen:
        found = [r.series(event.metric) for r in c.results(event, c.arm(name), results)]
        steps = sorted(set.intersection(*(set(x.tolist()) for x, _ in found)))
        values = np.array([[dict(zip(x.tolist(), y, strict=True))[s] for s in steps] for x, y in found])
        bands = [stats.mean(v.tolist()) for v in values.T]
        low, high = [b.low for b in bands], [b.high for b in bands]
        drawn.append(Curve(name, steps, [b.value for b in bands], low, high, group=name))
    return Figure(
        f"{event.name}: learning curves, each arm at its tuned rate",
        f"Mean {event.metric} over {c.seeds} reporting seeds; the band is the 95 % interval of the mean.",
        "step of the optimizer",
        event.metric,
        tuple(drawn),
        keys=c.keys(results, *chosen),
    )


def sensitivity(c: Contest, event: Event, results: Results, names: Sequence[str] = ()) -> Figure:
    """Score against the rate, from the tuning runs."""
    drawn, keys = [], []
    for name in list(names) or [a.name for a in c.arms]:
        tuned = c.tuned(event, c.arm(name), results)
        x = sorted(tuned.losses)
        drawn.append(Curve(name, x, [-tuned.losses[r] for r in x], group=name))
        keys += [results.key(run) for run in tuned.runs]
    return Figure(
        f"{event.name}: sensitivity to the learning rate",
        f"Area under the learning curve, on a scale where a {event.metric} of {event.low:g} is 0 and {event.high:g} is "
        f"1; mean over {c.tuning_seeds} tuning seeds.",
        "learning rate",
        "score",
        tuple(drawn),
        x_scale="log",
        keys=tuple(keys),
    )


def differences(c: Contest, reference: str, results: Results, level: float = 0.95) -> Figure:
    """Interquartile mean of every arm's scores less the reference's, at tuned rates and at one default rate each."""
    names = [a.name for a in c.arms if a.name != reference]
    drawn = []
    for title, default in (("tuned for each task", False), ("one rate for all tasks", True))[: len(c.events)]:
        effects = [c.against(n, reference, results, level, default) for n in names]
        y, low, high = ([getattr(e, part) for e in effects] for part in ("value", "low", "high"))
        drawn.append(Curve(title, names, y, low, high, style="bar"))
    return Figure(
        f"{_tasks(c)}: scores less those of {reference}",
        f"Difference of interquartile means over {', '.join(e.name for e in c.events)}; {100 * level:g} % intervals by "
        f"a bootstrap stratified by task, seeds paired. Area under the learning curve, 0 to 1.",
        "",
        f"score less that of {reference}",
        tuple(drawn),
        x_scale="category",
        keys=c.keys(results),
    )


def summary(c: Contest, reference: str, results: Results) -> Table:
    """A row an arm: scores, difference, probability of improvement, collapse, sensitivity, rates."""
    rows = []
    for arm in c.arms:
        own, other = c.scores(arm.name, results), c.scores(reference, results)
        middle, apart = scores.iqm_interval(own), c.against(arm.name, reference, results)
        better, lost = scores.improvement(own, other), c.collapsed(arm.name, results)
        rates = ", ".join(f"{c.tuned(e, arm, results).best:.3g}" for e in c.events)
        row = (arm.name, middle.value, apart.value, apart.low, apart.high, better.value, better.low, better.high)
        rows.append((*row, lost.value, lost.high, c.sensitivity(arm.name, results), rates))
    return Table(
        f"{_tasks(c)}: every arm",
        f"Areas under the learning curve over {', '.join(e.name for e in c.events)}, {c.seeds} reporting seeds each. A "
        "run collapsed if its last return is in the lowest tenth of the scale (upper end of the 95 % interval beside "
        "it). Near best is the share of the grid of rates whose tuning score is within 10 % of the best.",
        (
            "arm",
            "score (IQM)",
            f"less {reference}",
            "low",
            "high",
            "P(better)",
            "low",
            "high",
            "collapsed",
            "at most",
            "near best",
            "rates",
        ),
        tuple(rows),
        keys=c.keys(results),
    )


def _tasks(c: Contest) -> str:
    return " and ".join(e.name for e in c.events)
