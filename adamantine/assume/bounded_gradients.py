"""Bounded gradients in the maximum norm: the assumption of the first proofs of Adam."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine import tree
from adamantine.point import Point


@dataclass(frozen=True)
class BoundedGradients:
    """The largest partial derivative in size, `|g|_inf`, of this batch's gradient.

    The constant of the assumption is its largest value over training and batches; a maximum over samples estimates none
    consistently, so that quantiles over training are what a page should show.
    """

    statement: ClassVar[str] = "|grad f_B|_inf <= G for all batches B"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:1412.6980, arXiv:2410.19964"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "In a random basis sqrt(2 log d / d) |g|_2, the largest of d normal numbers."
    refuted: ClassVar[str] = "It falls under a random rotation while Adam gets slower: it then points the wrong way."
    means: ClassVar[str] = "Nothing by itself: it was published as failing to explain Adam's dependence on the basis."
    cost: ClassVar[dict[str, int]] = {"grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`bounded_gradient`."""
        return {"bounded_gradient": float(tree.flat(p.grad).abs().max())}

    def under_null(self, p: Point) -> dict[str, float]:
        """In a random basis."""
        d = tree.size(p.w)
        return {"bounded_gradient": math.sqrt(2 * math.log(d) / d) * float(tree.norm(p.grad))}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """Of the gradient."""
        return {"bounded_gradient": float(tree.flat(p.grad).abs().max())}
