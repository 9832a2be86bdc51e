"""The largest dual norm of the image of a unit ball, by alternating maximization (Boyd 1974, for any norm)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from adamantine import tree
from adamantine.tree import Params

# For a direction `g`: the `x` of norm at most 1 with the largest `<g, x>`, and that product, which is the dual norm.
Dual = Callable[[Params], tuple[Params, float]]
ENOUGH = 1e-9


def dual_power(
    product: Callable[[Params], Params], dual: Dual, starts: list[Params], sweeps: int
) -> tuple[float, Params]:
    """`max |H x|*` over `|x| <= 1` for a symmetric `H`, from below: the best of all `starts`, and where it was found.

    `x <- dual(H x)` never lowers `|H x|*`, since `|H x'|* >= <x, H x'> = <H x, x'> = |H x|*`. At most `sweeps` products
    a start. NaN where a product is not finite.
    """
    best, at = -math.inf, starts[0]
    for start in starts:
        x, value = dual(start)[0], -math.inf
        for _ in range(sweeps):
            image = product(x)
            after, reached = dual(image)
            if not math.isfinite(reached):
                return math.nan, x
            if reached > best:
                best, at = reached, x
            if reached <= value + ENOUGH * abs(value):
                break
            x, value = after, reached
    return best, at


def gaussian(w: Params, rng: torch.Generator) -> Params:
    """A standard normal direction in the shape of `w`; drawn on the CPU."""
    return {k: torch.randn(x.shape, generator=rng, dtype=x.dtype).to(x.device) for k, x in w.items()}


def dense(h: Tensor, w: Params) -> Callable[[Params], Params]:
    """Products with a matrix on the flat coordinates of `w`."""
    return lambda v: tree.like(h @ tree.flat(v), w)


def blocks(g: Params) -> tuple[Params, float]:
    """For `max_b |x_b|_2 / sqrt(d_b)` over the tensors `b`, of `d_b` numbers each."""
    lengths = {k: float(x.norm()) for k, x in g.items()}
    x = {k: x * (x.numel() ** 0.5 / lengths[k]) if lengths[k] else torch.zeros_like(x) for k, x in g.items()}
    return x, sum(g[k].numel() ** 0.5 * n for k, n in lengths.items())


def spectral(g: Params) -> tuple[Params, float]:
    """For the largest singular value over all matrices, and the Euclidean length of what is no matrix."""
    x, total = {}, 0.0
    for k, a in g.items():
        if a.ndim < 2:
            length = float(a.norm())
            x[k], total = (a / length if length else torch.zeros_like(a)), total + length
            continue
        if not bool(a.isfinite().all()):
            return g, math.nan
        u, s, v = torch.linalg.svd(a.flatten(1), full_matrices=False)
        u = u[:, s > 0]  # directions that nothing came from stay out
        x[k], total = (u @ v[: u.shape[1]]).reshape(a.shape), total + float(s.sum())
    return x, total
