"""Second-moment spread: how differently a second moment scales the coordinates."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point


@dataclass(frozen=True)
class MomentHeterogeneity:
    """The relative variance over coordinates of `v_i = mean_b g_bi^2`, the second moment of the examples' gradients.

    `d sum v^2 / (sum v)^2 - 1`: 0 where one number serves all, `d - 1` where one coordinate has it all. Of the examples
    of this batch, gradient and noise together. Costs the gradients of all examples. Raises ValueError where the loss
    does not split by example.
    """

    statement: ClassVar[str] = "d sum_i v_i^2 <= (1 + kappa) (sum_i v_i)^2"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:2410.19964, arXiv:2406.16793"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = (
        "In a random basis (2 d / r - 2) / (d + 2), about 2 / r, with the effective rank r of the gradients' "
        "second moment."
    )
    refuted: ClassVar[str] = (
        "Bases and scopes in which it is equal differ in speed under Adam, or those in which it differs do not."
    )
    means: ClassVar[str] = (
        "Where it is small inside a block, the block needs one second moment only: Adam-mini, Adalayer, AdaSGD."
    )
    cost: ClassVar[dict[str, int]] = {"each_grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`moment_heterogeneity`."""
        return {
            "moment_heterogeneity": _spread(torch.cat([x.square().mean(0).flatten() for x in p.each_grad().values()]))
        }

    def under_null(self, p: Point) -> dict[str, float]:
        """From the inner products of the examples' gradients, whose squares sum up to those of their second moment."""
        gram = torch.stack([x.flatten(1).double() @ x.flatten(1).double().T for x in p.each_grad().values()]).sum(0)
        d, rank = tree.size(p.w), float(gram.trace() ** 2 / gram.square().sum())
        return {"moment_heterogeneity": (2 * d / rank - 2) / (d + 2)}

    def on_examples(self, p: Point, g: Tensor) -> dict[str, float]:
        """From the gradients of all examples, `[B, d]`."""
        return {"moment_heterogeneity": _spread(g.square().mean(0))}


def _spread(v: Tensor) -> float:
    v = v.double()
    return float(len(v) * v.square().sum() / v.sum().square()) - 1
