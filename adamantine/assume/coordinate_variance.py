"""Coordinate-wise affine variance: noise that is large where the gradient is."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point


@dataclass(frozen=True)
class CoordinateVariance:
    """The slope `s1` through the origin of the variances of partial derivatives on their squares, over coordinates.

    `sum_i s_i^2 G_i^2 / sum_i G_i^4`, with the examples in four groups: `G_i^2` from products of the means of two
    groups, the variance `s_i^2` from the other two, and `G_i^4` from all four, so that numerator and denominator are
    without bias. `noise_agreement` is the rank correlation of `s_i^2` and `|g_i|` over the coordinates. Costs the
    gradients of all examples; NaN for less than six. Raises ValueError where the loss does not split by example.
    """

    statement: ClassVar[str] = "E |g_i - d_i f|^2 <= s0_i^2 + s1 |d_i f|^2"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:2402.00389"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = (
        "In a random basis noise and gradient are spread evenly: the slope is tr Sigma d / (3 |G|^2), about, "
        "and the agreement 0."
    )
    refuted: ClassVar[str] = "The agreement is no larger than that of coordinates paired at random."
    means: ClassVar[str] = "Where it holds with a small s0, RMSProp and Adam converge at a rate free of the dimension."
    cost: ClassVar[dict[str, int]] = {"each_grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`coordinate_variance` and `noise_agreement`."""
        return _numbers(torch.cat([x.flatten(1) for x in p.each_grad().values()], 1))

    def on_examples(self, p: Point, g: Tensor) -> dict[str, float]:
        """From the gradients of all examples, `[B, d]`."""
        return _numbers(g)


def _numbers(g: Tensor) -> dict[str, float]:
    if len(g) < 6 or not bool(g.isfinite().all()):
        return {"coordinate_variance": torch.nan, "noise_agreement": torch.nan}
    a, b, c, d = (g[i::4].double().mean(0) for i in range(4))
    variance = torch.cat([g[2::4], g[3::4]]).double().var(0)
    slope = (variance * a * b).sum() / (a * b * c * d).sum()
    ranks = torch.stack([x.argsort().argsort().double() for x in (g.var(0), g.mean(0).abs())])
    return {"coordinate_variance": float(slope), "noise_agreement": float(torch.corrcoef(ranks)[0, 1])}
