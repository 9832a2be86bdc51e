"""How far two samples lie apart: the energy distance (Székely & Rizzo 2013), without a trained network.

`D(P, Q) = 2 E|X - Y| - E|X - X'| - E|Y - Y'|` for independent `X, X'` of `P` and `Y, Y'` of `Q` is zero where the
two are the same and positive everywhere else; it is the kernel discrepancy of the kernel `-|x - y|`.
"""

import torch
from torch import Tensor


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Unbiased estimate of `D / sqrt(d)` from rows `x [n, d]` and `y [m, d]`: `|x - y|` as root mean square.

    Means over all pairs, those within a sample without the pairs of a row with itself (a U-statistic). Unbiased
    means: zero on average where the distributions agree, so that single values may be negative. Computed in float64,
    `(n + m)^2 d` operations. Raises ValueError where a sample has fewer than two rows or the two have unequal `d`.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"energy_distance: samples of shapes {tuple(x.shape)} and {tuple(y.shape)}; give [n, d] and [m, d], each "
            "of at least two rows."
        )
    x, y = x.double(), y.double()
    apart = _apart(x, y).mean()
    within = [_apart(a, a).sum() / (len(a) * (len(a) - 1)) for a in (x, y)]
    return float(2 * apart - within[0] - within[1]) / x.shape[1] ** 0.5


def _apart(x: Tensor, y: Tensor) -> Tensor:
    # By differences: through the matrix product, a row would not lie at distance zero from itself.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
