"""Strong growth: noise that vanishes with the gradient, as where every example can be fitted."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine.point import Point
from adamantine.probes.gradient_sample import moments, sample


@dataclass(frozen=True)
class StrongGrowth:
    """`rho = 1 + tr Sigma / |G|^2` for batches of one: with the gradient noise scale, the same number (`rho - 1`).

    For batches of `B` it is `1 + (rho - 1) / B`. Ratio of estimates without bias of `tr Sigma` and `|G|^2`; infinite
    where `|G|^2` is not detectable. The error is an upper bound of one standard error, to first order.
    """

    batches: int = 4
    statement: ClassVar[str] = "E |g|_2^2 <= rho |grad f|_2^2"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "arXiv:1810.07288"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "A rotation leaves it as it is: it cannot tell one basis from another."
    refuted: ClassVar[str] = (
        "It grows along training in proportion to 1 / |grad f|^2: the noise does not vanish with the gradient."
    )
    means: ClassVar[str] = (
        "Where it stays bounded, SGD at a constant rate converges as gradient descent does, rho times slower."
    )

    def __post_init__(self) -> None:
        """Refuse too few."""
        if self.batches < 2:
            raise ValueError(f"StrongGrowth: batches = {self.batches} must be at least 2, to differ from one another.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"each_norm": 1, "grad": self.batches, "loss": self.batches}

    def __call__(self, p: Point) -> dict[str, float]:
        """`strong_growth` and its error."""
        found = moments(sample(p, self.batches).whole())
        return _numbers(*(float(x) for x in found))

    def on_examples(self, p: Point, g: Tensor) -> dict[str, float]:
        """From the gradients of all examples, `[B, d]`."""
        variance = float(g.var(0).sum())
        return {"strong_growth": 1 + variance / (float(g.mean(0).square().sum()) - variance / len(g))}


def _numbers(variance: float, square: float, of_variance: float, of_square: float) -> dict[str, float]:
    if math.isnan(variance + square) or square == 0:
        return {"strong_growth": math.nan, "strong_growth_error": math.nan}
    ratio = variance / square
    return {"strong_growth": 1 + ratio, "strong_growth_error": (of_variance + abs(ratio) * of_square) / abs(square)}
