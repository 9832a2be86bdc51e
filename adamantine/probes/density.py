"""How evenly the gradient spreads over the coordinates (Balles, Pedregosa & Le Roux, arXiv:2002.08056)."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine import tree
from adamantine.point import Point


@dataclass(frozen=True)
class GradientDensity:
    """`|g|_1^2 / (d |g|_2^2)`: from `1 / d` for a single coordinate to 1 where all are equally large.

    `2 / pi` for a Gaussian vector, and so in coordinates rotated at random; minibatch noise pulls it there too, so
    that small batches hide structure. No cost beyond the gradient. NaN for a gradient of zero.
    """

    units: ClassVar[dict[str, str]] = {"GradientDensity": "|g|_1^2 / (d |g|_2^2), between 1/d and 1"}
    caveat: ClassVar[str] = "Minibatch noise pulls it to 2 / pi, whatever the full gradient's is."
    cost: ClassVar[dict[str, int]] = {"grad": 1}

    def __call__(self, p: Point) -> float:
        """The density of the batch's gradient."""
        length = float(tree.norm(p.grad))
        return float(tree.norm(p.grad, 1)) ** 2 / (tree.size(p.grad) * length**2) if length else math.nan

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The density of `H w`."""
        g = h @ tree.flat(p.w)
        return {"GradientDensity": float(g.abs().sum() ** 2 / (len(g) * g.square().sum()))}
