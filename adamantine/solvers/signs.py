"""The largest 1-norm of the image of a sign vector, by alternating maximization."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.solvers.operator import Operator


@dataclass(frozen=True)
class Signs:
    """`value = |a s|_1` at the best sign vector `s` found: a lower bound of the maximum."""

    value: float
    signs: Tensor
    products: int


def sign_power(a: Operator, starts: int, sweeps: int, rng: torch.Generator, first: Tensor | None = None) -> Signs:
    """The best of `starts` runs of `s <- sign(a s)`, of at most `sweeps` products each (power method: Boyd 1974).

    A sweep never lowers `|a s|_1`. The first run starts from the signs of `first`, where it is given, the others at
    random. NaN where a product is.
    """
    before, best, at = a.count, 0.0, a.signs(rng) if first is None else _sign(first)
    s = at
    for i in range(starts):
        s, value = a.signs(rng) if i else at, 0.0
        for _ in range(sweeps):
            image = a @ s
            reached = float(torch.linalg.vector_norm(image, 1))
            if math.isnan(reached):
                return Signs(math.nan, s, a.count - before)
            if reached > best:
                best, at = reached, s
            if reached <= value * (1 + 1e-9):
                break
            value, s = reached, _sign(image)
    return Signs(best, at, a.count - before)


def _sign(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0).to(x)
