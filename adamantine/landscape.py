"""Figures of slices through the loss: lines with bands, planes, and a run's path beside a random walk's."""

from collections.abc import Mapping, Sequence

from adamantine import stats
from adamantine.finding import Curve, Figure, Heat
from adamantine.probes.trajectory import TrajectoryPlane

DRAWN = 300  # snapshots beyond which a path is drawn through some of them


def line_figure(
    title: str, at: Sequence[float], losses: Mapping[str, Sequence[Sequence[float]]], x: str = "t", unit: str = "loss"
) -> Figure:
    """Loss against the place on a line, a curve for each name; `losses[name]` has one or several slices along `at`.

    Several slices (random directions, seeds, batches) are shown as their mean with its 95 % interval. Raises ValueError
    where a slice has not a loss for each place.
    """
    curves = []
    for name, several in losses.items():
        if not several or any(len(one) != len(at) for one in several):
            raise ValueError(f"line_figure: {name!r} needs at least one slice, each with {len(at)} losses.")
        bands = [stats.mean([one[i] for one in several]) for i in range(len(at))]
        known = len(several) > 1
        low, high = ([getattr(b, end) for b in bands] if known else [] for end in ("low", "high"))
        curves.append(Curve(name, list(at), [b.value for b in bands], low, high, group=name))
    counts = sorted({len(several) for several in losses.values()})
    drawn = f"Mean over {' or '.join(map(str, counts))} slices a curve; the band is the 95 % interval of the mean."
    caption = f"{drawn if counts != [1] else 'One slice a curve.'} A slice shows one of very many directions."
    return Figure(title, caption, x, unit, tuple(curves))


def plane_figure(
    title: str,
    xs: Sequence[float],
    ys: Sequence[float],
    losses: Sequence[Sequence[float]],
    x: str = "along the first direction",
    y: str = "along the second direction",
    scale: str = "log",
    unit: str = "loss",
) -> Heat:
    """The losses that `slices.plane` gives, a row for each of `ys`, as colours with the largest `y` on top.

    Raises ValueError where the losses have not a row for each `y` with a number for each `x`.
    """
    if len(losses) != len(ys) or any(len(row) != len(xs) for row in losses):
        raise ValueError(f"plane_figure: losses need {len(ys)} rows of {len(xs)} numbers, one for each y and x.")
    caption = f"Forward passes at {len(ys)} x {len(xs)} places. A plane shows two of very many directions."
    order = sorted(range(len(ys)), key=lambda i: -ys[i])
    top = max(map(abs, ys)) or 1.0  # beside which the rounding of a place at 0 is nothing
    names = tuple(f"{round(ys[i] / top, 9) * top + 0.0:.6g}" for i in order)
    values = tuple(tuple(losses[i]) for i in order)
    return Heat(title, caption, x, y, tuple(xs), names, values, unit, scale)


def path_figure(title: str, plane: TrajectoryPlane) -> Figure:
    """The snapshots projected to their plane, in units of the weights, with what a random walk would explain."""
    held, null = (sum(x[:2]) for x in (plane.explained, plane.null))
    caption = (
        f"The two directions hold {held:.0%} of the variance of {len(plane.path)} snapshots; a random walk with steps "
        f"of these lengths in very many dimensions would have {null:.0%}, and look as smooth. The last is the origin."
    )
    x, y = (f"component {i + 1}: {plane.explained[i]:.0%} (random walk {plane.null[i]:.0%})" for i in range(2))
    rows = plane.path.tolist()
    places = {"path": [*rows[: -1 : 1 + len(rows) // DRAWN], rows[-1]], "first": rows[:1], "last": rows[-1:]}
    style = {"path": "line", "first": "points", "last": "points"}
    curves = [Curve(k, [a for a, _ in v], [b for _, b in v], group=k, style=style[k]) for k, v in places.items()]
    return Figure(title, caption, x, y, tuple(curves))
