"""Gradient density: sign descent gains where the gradient is spread over all coordinates."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.density import GradientDensity


@dataclass(frozen=True)
class DenseGradient:
    """`|g|_1^2 / (d |g|_2^2)` of the batch's gradient, from `1 / d` to 1: see the probe `GradientDensity`.

    Sign descent has a better bound than gradient descent where `phi d L > C`, with smoothness `L` and smoothness in the
    maximum norm `C`.
    """

    statement: ClassVar[str] = "|g|_1^2 <= phi d |g|_2^2"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:2002.08056"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "2 / pi, of a Gaussian vector: a random basis, or nothing but noise."
    refuted: ClassVar[str] = (
        "Bases with a denser gradient do not train faster under sign descent, curvature being equal."
    )
    means: ClassVar[str] = (
        "Dense gradients favour sign descent and Adam; sparse ones plain descent, curvature being equal."
    )
    cost: ClassVar[dict[str, int]] = {"grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`gradient_density`."""
        return GradientDensity()(p)

    def under_null(self, p: Point) -> dict[str, float]:
        """In a random basis, for many coordinates."""
        return {"gradient_density": 2 / math.pi}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the gradient."""
        g = tree.flat(p.grad)
        return {"gradient_density": float(g.abs().sum() ** 2 / (len(g) * g.square().sum()))}
