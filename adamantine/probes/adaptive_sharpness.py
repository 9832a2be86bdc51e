"""Sharpness in relative changes of the weights (ASAM: Kwon et al., arXiv:2102.11600).

The Hessian's largest eigenvalue changes where a network is written with other weights for the same function, as by
`W1 -> a W1`, `W2 -> W2 / a` around a ReLU (Dinh et al., arXiv:1703.04933); this one does not.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.sharpness import followed, refuse_few
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class AdaptiveSharpness:
    """The largest eigenvalue of `diag(|w|) H diag(|w|)`, and a bound on its error.

    In units of the loss: twice what the worst change of the weights raises the loss by to second order, when the
    changes relative to each weight have a sum of squares of 1. The same for all weights that rescaling of units or
    layers leads to; not for those that a rotation leads to. Costs and error as for `Sharpness`.
    """

    products: int = 12
    tolerance: float = 0.01

    units: ClassVar[dict[str, str]] = {"adaptive_sharpness": "largest eigenvalue of |w| H |w|; loss"}
    caveat: ClassVar[str] = (
        "Weights at zero take no part, so that sparse or decayed weights look flat, and with cross-entropy it falls "
        "with the training loss: compare at equal loss."
    )

    def __post_init__(self) -> None:
        """Refuse too few products."""
        refuse_few("AdaptiveSharpness", self.products, 1)

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.products}

    def __call__(self, p: Point) -> dict[str, float]:
        """`adaptive_sharpness` and `adaptive_sharpness_error`."""
        a = hessian(p, around=lambda v: tree.each(lambda x, w: x * w.abs(), v, p.w))
        return followed(p, a, f"eigenvectors of {self!r}", "adaptive_sharpness", self.products, self.tolerance)

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The largest eigenvalue of the dense matrix."""
        size = tree.flat(p.w).abs()
        return {"adaptive_sharpness": float(torch.linalg.eigvalsh(size[:, None] * h * size)[-1])}
