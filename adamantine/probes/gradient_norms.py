"""The gradient's length in the norms that theorems speak of (dual norms of steepest descent, arXiv:2409.20325)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.solvers.dual_power import blocks, spectral

NAMES = ("gradient_l2", "gradient_l1", "gradient_blocks", "gradient_nuclear", "gradient_max")


@dataclass(frozen=True)
class GradientNorms:
    """Five norms of the batch's gradient: Euclidean, sum of sizes, by tensors, nuclear, and the largest size.

    `gradient_blocks` is `sum_b sqrt(d_b) |g_b|_2` over the tensors, `gradient_nuclear` the sum of the singular values
    of all matrices (`x.flatten(1)`) and of the lengths of all vectors. A decomposition of each matrix.
    """

    units: ClassVar[dict[str, str]] = {
        "gradient_l2": "|g|_2; loss / weight",
        "gradient_l1": "|g|_1; loss / weight",
        "gradient_blocks": "sum over tensors of sqrt(d_b) |g_b|_2; loss / weight",
        "gradient_nuclear": "sum of singular values of all matrices and lengths of vectors; loss / weight",
        "gradient_max": "|g|_inf; loss / weight",
    }
    cost: ClassVar[dict[str, int]] = {"grad": 1}
    caveat: ClassVar[str] = "Noise of the batch adds to all of them, most to the sum of sizes and the nuclear norm."

    def __call__(self, p: Point) -> dict[str, float]:
        """All of `units`."""
        g = tree.flat(p.grad).double()
        if not bool(g.isfinite().all()):
            return dict.fromkeys(NAMES, math.nan)
        found = (float(g.norm()), float(g.abs().sum()), blocks(p.grad)[1], spectral(p.grad)[1], float(g.abs().max()))
        return dict(zip(NAMES, found, strict=True))

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """Of `H w`."""
        g = tree.like(h @ tree.flat(p.w), p.w)
        flat = tree.flat(g)
        nuclear = sum(float(torch.linalg.matrix_norm(x, "nuc") if x.ndim > 1 else x.norm()) for x in g.values())
        by_tensor = sum(x.numel() ** 0.5 * float(x.norm()) for x in g.values())
        found = (float(flat.norm()), float(flat.abs().sum()), by_tensor, nuclear, float(flat.abs().max()))
        return dict(zip(NAMES, found, strict=True))
