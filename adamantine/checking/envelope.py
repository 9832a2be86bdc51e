"""Several constants at once: the lowest plane above all that was measured along training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog


@dataclass(frozen=True)
class Envelope:
    """Constants by what they multiply, "1" for the additive one, and the least and greatest that single seeds give.

    They serve at every measured point of every seed, so that they need not lie between those of single ones.
    `share` is the mean height of the plane over that of the additive constant alone: 1 where the others are of no use.
    """

    constants: dict[str, float]
    seeds: dict[str, tuple[float, float]]
    share: float


def plane(scales: np.ndarray, bounded: np.ndarray) -> np.ndarray:
    """`c >= 0` with the least `mean(c_0 + scales c)` of those with `c_0 + scales c >= bounded` at all points.

    `scales [n, k]`, `bounded [n]`, neither below zero; the constants are `[k + 1]`, the additive one first. A linear
    program, in units in which the largest of everything is one.
    """
    size, top = np.maximum(scales.max(0), 1e-300), max(float(bounded.max()), 1e-300)
    a = np.column_stack([np.ones(len(bounded)), scales / size])
    found = linprog(a.mean(0), A_ub=-a, b_ub=-bounded / top, bounds=(0, None), method="highs")
    return found.x * top / np.concatenate([[1.0], size])


def envelope(names: Sequence[str], scales: Sequence[np.ndarray], bounded: Sequence[np.ndarray]) -> Envelope | None:
    """Of seeds, each with its `scales [n, k]` and what they bound, `[n]`.

    None where no seed has more points than constants. Points that are not finite, or at which a scale is below zero,
    take no part.
    """
    kept = []
    for x, y in zip(scales, bounded, strict=True):
        some = np.isfinite(y) & np.isfinite(x).all(1) & (x >= 0).all(1) & (y >= 0)
        kept.append((x[some], y[some]))
    kept = [(x, y) for x, y in kept if len(y) > len(names) + 1]
    if not kept:
        return None
    whole, top = np.concatenate([x for x, _ in kept]), np.concatenate([y for _, y in kept])
    c, keys = plane(whole, top), ("1", *names)
    each = np.array([plane(x, y) for x, y in kept])
    seeds = {k: (float(x.min()), float(x.max())) for k, x in zip(keys, each.T, strict=True)}
    share = float((c[0] + whole @ c[1:]).mean() / top.max()) if top.max() > 0 else math.nan
    return Envelope(dict(zip(keys, c.tolist(), strict=True)), seeds, share)
