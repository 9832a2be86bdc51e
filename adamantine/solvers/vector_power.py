"""The semidefinite relaxation of the largest 1-norm over sign vectors, by low-rank factors (Burer & Monteiro 2003)."""

import math

import torch

from adamantine.solvers.operator import Operator


def vector_power(a: Operator, rank: int, sweeps: int, rng: torch.Generator) -> float:
    """`max sum_ij a_ij <u_i, v_j>` over unit vectors `u_i`, `v_j` of length `rank`, from below.

    Alternating maximization: for given `v` the best `u_i` are the rows of `a V` over their lengths, and the value is
    the sum of these. By duality the maximum over vectors of every length is `min { tr D : D diagonal, -D <= a <= D }`,
    and a rank of about `2 sqrt(d)` attains it; smaller ones stay below. Costs `rank * sweeps` products and keeps
    `2 rank` vectors. NaN where a product is.
    """
    v = torch.stack([a.gaussian(rng) for _ in range(rank)], 1)
    v, value = v / v.norm(dim=1, keepdim=True), -math.inf
    for _ in range(sweeps):
        image = torch.stack([a @ x for x in v.T], 1)
        lengths = image.norm(dim=1)
        reached = float(lengths.double().sum())
        if not math.isfinite(reached):
            return math.nan
        if reached <= value * (1 + 1e-12):
            break
        value = reached
        v = torch.where(lengths[:, None] > 0, image / lengths[:, None], v)  # a row of zeros may point anywhere
    return value
