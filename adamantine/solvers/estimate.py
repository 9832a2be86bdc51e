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
    return Estimate(value, float(jackknife_error(without)), products)


def jackknife_error(without: Tensor) -> Tensor:
    """Standard error of a statistic from its values `without [n, ...]`, each with one of `n` draws left out."""
    return ((len(without) - 1) * without.var(0, correction=0)).sqrt()
