"""The diagonal, and how much of a matrix lies on it or in blocks along it, from products with random signs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.solvers.estimate import Estimate, jackknife, mean
from adamantine.solvers.operator import Operator


@dataclass(frozen=True)
class Diagonal:
    """`value [d]` with its standard `error [d]`."""

    value: Tensor
    error: Tensor
    products: int


def diagonal(a: Operator, probes: int, rng: torch.Generator) -> Diagonal:
    """The mean of `z * (a z)` over random signs `z` (Bekas et al. 2007, doi:10.1016/j.apnum.2007.01.003).

    Without bias; the variance of an entry is the sum of squares of the others in its row, over `probes`.
    """
    _refuse("diagonal", probes)
    before = a.count
    total = squares = torch.zeros(a.size).to(a.like)
    for i in range(probes):
        z = a.signs(rng)
        x = z * (a @ z)
        step = x - total  # Welford's update: sums of squares would cancel
        total = total + step / (i + 1)
        squares = squares + step * (x - total)
    return Diagonal(total, (squares / (probes * (probes - 1))).sqrt(), a.count - before)


def frobenius(a: Operator, b: Operator, probes: int, rng: torch.Generator) -> Estimate:
    """`<a, b>`, the squared Frobenius norm where they are one: the mean of `(a z)'(b z)`, without bias.

    With `a` and `b` from independent batches, noise in the two adds nothing.
    """
    _refuse("frobenius", probes)
    before, draws = _count(a, b), []
    for _ in range(probes):
        x, y = _both(a, b, a.signs(rng))
        draws.append(float(x @ y))
    return mean(torch.tensor(draws, dtype=torch.float64), _count(a, b) - before)


def diagonal_energy(a: Operator, b: Operator, probes: int, rng: torch.Generator) -> Estimate:
    """`sum_i a_ii b_ii / <a, b>`: the share of the squared Frobenius norm on the diagonal.

    Numerator and denominator are without bias: the one from products of different probes,
    `(z * a z)'(z' * b z')`, the other from `(a z)'(b z)`; the bias of their ratio is taken off by the jackknife, whose
    error it is. Keeps `2 probes` vectors.
    """
    _refuse("diagonal_energy", probes, 3)
    before, xs, ys, whole = _count(a, b), [], [], []
    for _ in range(probes):
        z = a.signs(rng)
        x, y = _both(a, b, z)
        xs.append(z * x)
        ys.append(z * y)
        whole.append(float(x @ y))
    x, y = torch.stack(xs), torch.stack(ys)
    pairs = (x @ y.T).double().cpu()
    w = torch.tensor(whole, dtype=torch.float64)
    own, n = pairs.diag(), probes
    cross = pairs.sum() - own.sum()
    less = cross - pairs.sum(0) - pairs.sum(1) + 2 * own
    value = float(cross / (n * (n - 1)) / w.mean())
    without = less / ((n - 1) * (n - 2)) / ((w.sum() - w) / (n - 1))
    return jackknife(_corrected(value, without), without, _count(a, b) - before)


def block_energy(
    a: Operator, b: Operator, blocks: Sequence[int], probes: int, rng: torch.Generator
) -> tuple[tuple[Estimate, ...], Estimate]:
    """`<a_kk, b_kk> / <a, b>` for each block `k` of the coordinates, cut into `blocks` of these sizes, and their sum.

    Probes supported on one block give its square, `(a z)_k'(b z)_k`, and its columns, `(a z)'(b z)`, whose sum over
    blocks is the whole. Costs `probes` products a block; `products` of each says what all of them took. The bias of the
    ratios is taken off by the jackknife, whose errors they are. Raises ValueError where the sizes do not add up.
    """
    _refuse("block_energy", probes)
    if sum(blocks) != a.size:
        raise ValueError(f"block_energy: blocks of {sum(blocks)} coordinates for a matrix of {a.size}.")
    before = _count(a, b)
    inside, columns = torch.zeros(probes, len(blocks)).double(), torch.zeros(probes, len(blocks)).double()
    for i in range(probes):
        z, at = a.signs(rng), 0
        for k, size in enumerate(blocks):
            here = slice(at, at + size)
            part = torch.zeros_like(z)
            part[here] = z[here]
            x, y = _both(a, b, part)
            inside[i, k], columns[i, k] = float(x[here] @ y[here]), float(x @ y)
            at += size
    whole = columns.sum(1)
    value = inside.sum(0) / whole.sum()
    without = (inside.sum(0) - inside) / (whole.sum() - whole)[:, None]
    used = _count(a, b) - before
    each = tuple(jackknife(_corrected(float(v), x), x, used) for v, x in zip(value, without.T, strict=True))
    whole = without.sum(1)
    return each, jackknife(_corrected(float(value.sum()), whole), whole, used)


def _corrected(value: float, without: Tensor) -> float:
    """Less the jackknife's estimate of the bias (Quenouille 1956)."""
    return len(without) * value - (len(without) - 1) * float(without.mean())


def _both(a: Operator, b: Operator, z: Tensor) -> tuple[Tensor, Tensor]:
    x = a @ z
    return x, x if b is a else b @ z


def _count(a: Operator, b: Operator) -> int:
    return a.count if b is a else a.count + b.count


def _refuse(who: str, probes: int, least: int = 2) -> None:
    if probes < least or not math.isfinite(probes):
        raise ValueError(f"{who}: probes = {probes} must be at least {least}, or there is no error.")
