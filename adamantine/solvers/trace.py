"""The trace from products with random vectors: Hutchinson (1989) and XTrace (arXiv:2301.07825)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.solvers.estimate import Estimate, mean
from adamantine.solvers.operator import Operator

FIRST = 8  # products before the first look at the interval


@dataclass(frozen=True)
class Interval:
    """`value`, its standard `error`, and `low` to `high`, which cover the trace with a probability of 95 %."""

    value: float
    error: float
    low: float
    high: float
    products: int


def hutchinson(a: Operator, products: int, rng: torch.Generator, tolerance: float = 0.0) -> Interval:
    """The mean of `z' a z` over random signs `z`, of which `products` are drawn, at most.

    With a `tolerance` it looks after 8, 16, 32, ... products, and stops where the interval is within that share of
    the value. All looks together are wrong in 5 % of cases (Bonferroni), so that the interval keeps its coverage; the
    value is pulled towards draws that happened to agree, by less than its error. Raises ValueError for less than two
    products.
    """
    if products < 2:
        raise ValueError(f"hutchinson: products = {products} must be at least 2, or there is no error.")
    looks = [products]
    if tolerance > 0:
        looks = [FIRST * 2**i for i in range(64) if FIRST * 2**i < products] + looks
    draws: list[float] = []
    found = Interval(math.nan, math.nan, math.nan, math.nan, 0)
    for look in looks:
        while len(draws) < look:
            z = a.signs(rng)
            draws.append(float(z @ (a @ z)))
        one = mean(torch.tensor(draws, dtype=torch.float64), look)
        half = _student(1 - 0.05 / len(looks), look - 1) * one.error
        found = Interval(one.value, one.error, one.value - half, one.value + half, look)
        if not half > tolerance * abs(one.value):
            break
    return found


def xtrace(a: Operator, products: int, rng: torch.Generator) -> Estimate:
    """The trace on the range of half of the products exactly, and of the rest from each vector left out in turn.

    Without bias; its error is from the spread of the leave-one-out estimates. For a spectrum that decays it beats
    `hutchinson` from about 40 products on, and is exact at a rank below `products / 2`. Keeps `2 products` vectors.
    Raises ValueError for less than four products.
    """
    if products < 4:
        raise ValueError(f"xtrace: products = {products} must be at least 4, two for each of two vectors.")
    before = a.count
    draws = torch.stack([a.gaussian(rng) for _ in range(min(products // 2, a.size))], 1)
    images = torch.stack([a @ x for x in draws.T], 1)
    if not bool(images.isfinite().all()):
        return Estimate(math.nan, math.nan, a.count - before)
    q, stretch, turn = torch.linalg.svd(images, full_matrices=False)
    rank = int((stretch > torch.finfo(images.dtype).eps * max(images.shape) * stretch[0]).sum())
    q, seen = q[:, :rank], stretch[:rank, None] * turn[:rank]
    again = torch.stack([a @ x for x in q.T], 1) if rank else q
    small, inside = q.T @ again, q.T @ draws
    found = []
    for i in range(draws.shape[1]):
        s = _lost(torch.cat([seen[:, :i], seen[:, i + 1 :]], 1))
        c = inside[:, i] - s * (s @ inside[:, i])
        rest = draws[:, i] - q @ c
        left = a.size - rank + int(bool(s.any()))  # dimensions outside of what the others span
        outside = left * float(rest @ (images[:, i] - again @ c)) / float(rest @ rest) if left else 0.0
        found.append(float(small.trace() - s @ small @ s) + outside)
    return mean(torch.tensor(found, dtype=torch.float64), a.count - before)


def _lost(seen: Tensor) -> Tensor:
    """The unit vector that the columns of `seen [r, m - 1]` do not reach; zero where they reach all."""
    if not len(seen):
        return seen.new_zeros(0)
    u, s, _ = torch.linalg.svd(seen, full_matrices=True)
    whole = len(s) == len(seen) and bool(s[-1] > torch.finfo(seen.dtype).eps * max(seen.shape) * s[0])
    return torch.zeros_like(u[:, -1]) if whole else u[:, -1]


def _student(level: float, freedom: int) -> float:
    """The two-sided quantile of Student's t."""
    from scipy.special import stdtrit  # half a second to import, and few ask for it

    return float(stdtrit(freedom, (1 + level) / 2))
