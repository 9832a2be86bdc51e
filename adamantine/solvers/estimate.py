"""A number found by random probing, with its error."""

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """`value` with one standard error (NaN where one draw gives none) and the `products` it took."""

    value: float
    error: float
    products: int


def mean(draws: Tensor, products: int) -> Estimate:
    """The mean of independent `draws [n]`, and its standard error."""
    error = float(draws.std()) / math.sqrt(len(draws)) if len(draws) > 1 else math.nan
    return Estimate(float(draws.mean()), error, products)


def jackknife(value: float, without: Tensor, products: int) -> Estimate:
    """A statistic of independent draws, its error from its values `without [n]` one draw each."""
    n = len(without)
    return Estimate(value, math.sqrt((n - 1) * float(without.var(correction=0))), products)
