"""Curvature of a batch's loss along its own gradient (the edge of stochastic stability: arXiv:2412.20553)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point


@dataclass(frozen=True)
class BatchSharpness:
    """`E[g' H g / |g|^2]` over batches, each with its own gradient `g` and Hessian `H`; unbiased, with its error.

    Minibatch gradient descent at the rate `eta` settles where it is `2 / eta`, while the full loss's sharpness stays
    below. The mean is over `batches` batches: the point's own, and others drawn independently, so that one batch is
    one gradient and one Hessian-vector product. With a single batch the error is NaN. A batch whose gradient is zero
    is NaN. Raises ValueError where the task draws no further batches.
    """

    batches: int = 8

    units: ClassVar[dict[str, str]] = {"batch_sharpness": "mean of g' H g / |g|^2 over batches; loss / weight^2"}
    caveat: ClassVar[str] = (
        "The edge 2 / rate is that of plain minibatch gradient descent, and is reached after many more steps at small "
        "batches; compare at one batch size only."
    )

    def __post_init__(self) -> None:
        """Refuse less than one batch."""
        if self.batches < 1:
            raise ValueError(f"BatchSharpness: batches = {self.batches} must be at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"grad": self.batches, "hvp": self.batches}

    def __call__(self, p: Point) -> dict[str, float]:
        """`batch_sharpness` and `batch_sharpness_error`."""
        found = [_along_gradient(p)]
        if math.isfinite(found[0]):  # where the point's own batch gives no number, no other is asked
            found += [_along_gradient(p.fresh(f"batch sharpness/{i}")) for i in range(1, self.batches)]
        x = torch.tensor(found, dtype=torch.float64)
        error = float(x.std()) / len(x) ** 0.5 if len(x) > 1 else math.nan
        return {"batch_sharpness": float(x.mean()), "batch_sharpness_error": error}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """`g' H g / |g|^2` for `g = H w`, where there is no noise."""
        g = h @ tree.flat(p.w)
        return {"batch_sharpness": float(g @ h @ g / g.square().sum())}


def _along_gradient(p: Point) -> float:
    length = float(tree.norm(p.grad))
    if not length:
        return math.nan
    v = tree.each(lambda x: x / length, p.grad)
    return float(tree.dot(v, p.hvp(v)))
