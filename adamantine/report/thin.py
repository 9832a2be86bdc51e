"""Thinning of a curve that keeps its extremes: the smallest and largest value of every bucket of x.

Deterministic, unlike the random sampling of most dashboards, so that a spike of one step is always drawn.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = Sequence[float] | NDArray[np.float64]


def thin(
    x: Floats, y: Floats, limit: int, *, low: Floats = (), high: Floats = (), log: bool = False
) -> NDArray[np.intp]:
    """Ascending indices of at most `limit` points that draw the curve.

    Kept are the first and last point and, per bucket, argmin and argmax of `y`, argmin of `low`, argmax of
    `high` and one non-finite point, so that a gap stays a gap. Buckets are equal in x, in log x with `log`,
    and in the index where x is not ascending (then extremes of x are kept too). Raises ValueError where
    `limit` is below 8 or the lengths differ.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    bands = [np.asarray(v, dtype=float) for v in (low, high) if len(v)]
    if limit < 8:
        raise ValueError(f"thin: a limit of {limit} points cannot keep extremes; give at least 8.")
    if any(len(v) != len(xs) for v in (ys, *bands)):
        raise ValueError("thin: x, y, low and high must have one value per point.")
    n = len(xs)
    if n <= limit:
        return np.arange(n)
    ascending = bool(np.all(np.isfinite(xs)) and np.all(np.diff(xs) >= 0))
    least = [ys] + ([np.asarray(low, dtype=float)] if len(low) else []) + ([] if ascending else [xs])
    most = [ys] + ([np.asarray(high, dtype=float)] if len(high) else []) + ([] if ascending else [xs])
    broken = ~np.all([np.isfinite(v) for v in (xs, ys, *bands)], axis=0)
    picks = len(least) + len(most) + int(broken.any())
    bucket = _buckets(xs, max(1, (limit - 2) // picks), ascending, log)
    keep = {0, n - 1}
    starts = np.flatnonzero(np.diff(bucket, prepend=-1))
    for start, end in zip(starts, [*starts[1:], n], strict=True):
        for values, fill, arg in [(v, np.inf, np.argmin) for v in least] + [(v, -np.inf, np.argmax) for v in most]:
            part = values[start:end]
            part = np.where(np.isfinite(part), part, fill)
            keep.add(int(start + arg(part)))
        gap = np.flatnonzero(broken[start:end])
        if len(gap):
            keep.add(int(start + gap[0]))
    return np.array(sorted(keep), dtype=np.intp)


def _buckets(x: NDArray[np.float64], count: int, ascending: bool, log: bool) -> NDArray[np.intp]:
    place = x if ascending else np.arange(len(x), dtype=float)
    if ascending and log and x[-1] > 0:
        place = np.log(np.maximum(x, x[x > 0][0]))
    span = place[-1] - place[0]
    if not span > 0:
        place, span = np.arange(len(x), dtype=float), float(len(x) - 1)
    return np.minimum((place - place[0]) / span * count, count - 1).astype(np.intp)
