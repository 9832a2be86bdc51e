"""Figures and tables of a comparison: training curves, sensitivity to the rate, slow-down, and the numbers."""

import math
from collections.abc import Sequence

from adamantine import stats
from adamantine.comparison import Comparison
from adamantine.finding import Curve, Figure, Table
from adamantine.result import Results


def curves(c: Comparison, results: Results, names: Sequence[str] = (), what: str = "training curves") -> Figure:
    """Mean metric against the step, with the 95 % interval of the mean; marks where a run diverged."""
    drawn, chosen = [], list(names) or [a.name for a in c.arms]
    for name in chosen:
        steps, values = c.series(name, results)
        bands = [stats.mean(v.tolist()) for v in values.T]
        x, y = steps.tolist(), [b.value for b in bands]
        low, high = [b.low for b in bands], [b.high for b in bands]
        drawn.append(Curve(name, x, y, low, high, group=name, marks=c.diverged(name, results)))
    return Figure(
        f"{c.name}: {what}, each arm at its tuned rate",
        f"Mean {_loss(c)} over {c.seeds} reporting seeds; the band is the 95 % interval of the mean.",
        "step",
        f"{_loss(c)} ({c.unit})",
        tuple(drawn),
        y_scale="log",
        keys=c.keys(results, *chosen),
    )


def sensitivity(c: Comparison, results: Results, names: Sequence[str] = ()) -> Figure:
    """Final metric against the rate, from the tuning runs; a rate at which one diverged is marked."""
    drawn, keys = [], []
    for name in list(names) or [a.name for a in c.arms]:
        tuned = c.tuned(c.arm(name), results)
        x = sorted(tuned.losses)
        drawn.append(Curve(name, x, [tuned.losses[r] for r in x], group=name))
        keys += [results.key(run) for run in tuned.runs]
    return Figure(
        f"{c.name}: sensitivity to the learning rate",
        f"Final {_loss(c)}, mean over {c.tuning_seeds} tuning seeds; a triangle marks a rate at which a run diverged.",
        "peak learning rate",
        f"final {_loss(c)} ({c.unit})",
        tuple(drawn),
        x_scale="log",
        y_scale="log",
        keys=tuple(keys),
    )


def slowdown(
    c: Comparison, results: Results, reference: str, fractions: Sequence[float], names: Sequence[str]
) -> Figure:
    """Steps to reach the reference's loss after each fraction of training, over the reference's own, with intervals."""
    drawn = []
    for fraction, target in zip(fractions, c.targets(reference, results, fractions), strict=True):
        effects = [c.slowdown(n, reference, target, results)[0] for n in names]
        y, low, high = ([math.exp(getattr(e, part)) for e in effects] for part in ("value", "low", "high"))
        drawn.append(Curve(f"loss {target:.3g} ({fraction:.0%} of training)", [*names], y, low, high, style="bar"))
    return Figure(
        f"{c.name}: slow-down against {reference}",
        f"Steps to reach the loss that {reference} has after a fraction of its training, divided by its own steps; "
        f"geometric mean over {c.seeds} seeds, 95 % intervals. A run that never got there counts with its whole "
        "length, so its bar is a lower bound.",
        "",
        "steps / steps of the reference",
        tuple(drawn),
        x_scale="category",
        keys=c.keys(results, *names),
    )


def slowdowns(
    c: Comparison, results: Results, reference: str, fractions: Sequence[float], names: Sequence[str]
) -> Table:
    """The numbers of `slowdown`: a row for every arm and target, with how many runs never got there."""
    rows = []
    targets = c.targets(reference, results, fractions)
    for name in names:
        for fraction, target in zip(fractions, targets, strict=True):
            effect, missed = c.slowdown(name, reference, target, results)
            factor = (math.exp(x) for x in (effect.value, *effect.interval))
            rows.append((name, fraction, target, *factor, missed))
    return Table(
        f"{c.name}: slow-down against {reference} at several losses",
        f"Steps to the loss that {reference} has after a fraction of its training, over its own; geometric mean over "
        f"{c.seeds} seeds with the 95 % interval, a lower bound where runs never got there.",
        ("arm", "fraction of training", f"{_loss(c)}", "slow-down", "low", "high", "never got there"),
        tuple(rows),
        keys=c.keys(results, reference, *names),
    )


def summary(c: Comparison, results: Results, reference: str, fractions: Sequence[float], tolerance: float) -> Table:
    """A row an arm: tuned rate, final metric, difference from the reference, slow-down, window, divergences."""
    rows = []
    final = c.targets(reference, results, fractions)
    for arm in c.arms:
        tuned = c.tuned(arm, results)
        value = stats.mean(c.last(arm.name, results))
        ratio = c.against(arm.name, reference, results)
        speed, missed = c.slowdown(arm.name, reference, final[-1], results)
        rate, offset = rate_and_offset(c, results, arm.name, reference, fractions)
        rows.append(
            (
                arm.name,
                tuned.best,
                value.value,
                (value.high - value.low) / 2,
                *(100 * x for x in (ratio.value, ratio.low, ratio.high)),
                math.exp(speed.value),
                missed,
                rate,
                offset,
                c.window(arm.name, results, tolerance),
                len(c.diverged(arm.name, results)),
            )
        )
    return Table(
        f"{c.name}: every arm",
        f"{c.seeds} reporting seeds. The difference is in the logarithm of the final {_loss(c)}, paired by seed, "
        f"with its 95 % interval; slow-down, rate and offset are against {reference} (steps = offset + rate x its "
        f"steps); the window is the range of rates within {tolerance:.0%} of the best, in decades, from the tuning "
        "runs.",
        (
            "arm",
            "tuned rate",
            f"final {_loss(c)}",
            "±",
            "difference (%)",
            "low",
            "high",
            "slow-down",
            "runs that never got there",
            "rate",
            "offset (steps)",
            "window (decades)",
            "diverged",
        ),
        tuple(rows),
        keys=c.keys(results),
    )


def rate_and_offset(
    c: Comparison, results: Results, name: str, reference: str, fractions: Sequence[float]
) -> tuple[float, float]:
    """`stats.rate_and_offset` of the mean times to the reference's losses after each fraction of its training."""
    targets = c.targets(reference, results, fractions)
    own, other = ([float(c.times(n, t, results).mean()) for t in targets] for n in (name, reference))
    return stats.rate_and_offset(own, other)


def _loss(c: Comparison) -> str:
    return f"{c.metric.replace('_', '-')} loss"
