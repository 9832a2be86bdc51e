"""The sum of absolute entries from products with Cauchy vectors, by geometric means."""

import math

import torch
from torch import Tensor

from adamantine.solvers.estimate import Estimate, jackknife
from adamantine.solvers.operator import Operator

LARGEST = 1e7  # of a Cauchy variable; a larger one, of which there are 6 in 10^8, would drown the rest in rounding


def one_one(a: Operator, probes: int, rng: torch.Generator) -> Estimate:
    """`sum_ij |a_ij|`, without bias, from products with vectors `v` of independent Cauchy variables.

    `(a v)_i` is Cauchy with scale `r_i = sum_j |a_ij|`, and `cos(pi / 2n)^n prod_k |(a v_k)_i|^(1/n)` has the mean
    `r_i` for every `n >= 2` (Li, arXiv:math/0702684). All rows share the probes: the error is the jackknife's over
    probes, of the whole sum. Keeps `probes` float64 numbers a coordinate. Raises ValueError for less than four probes.
    """
    if probes < 4:
        raise ValueError(f"one_one: probes = {probes} must be at least 4, or the error has no variance.")
    before = a.count
    each = torch.stack([(a @ _cauchy(a, rng)).double().abs().log() for _ in range(probes)])
    each = each[:, each.sum(0) != -math.inf]  # rows of zeros add nothing, and their logarithms no number
    total = each.sum(0)
    without = [_geometric(total - x, probes - 1) for x in each]
    return jackknife(_geometric(total, probes), torch.tensor(without, dtype=torch.float64), a.count - before)


def _geometric(logs: Tensor, n: int) -> float:
    """The estimate summed over rows, from the sums of `n` logarithms."""
    return math.cos(math.pi / (2 * n)) ** n * float((logs / n).exp().sum())


def _cauchy(a: Operator, rng: torch.Generator) -> Tensor:
    x = torch.tan(math.pi * (torch.rand(a.size, generator=rng, dtype=torch.float64) - 0.5))
    return x.clamp(-LARGEST, LARGEST).to(a.like)
