"""Smoothness in the spectral norm, layer by layer: the geometry of Muon."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.dual_power import dense, dual_power, gaussian, spectral


@dataclass(frozen=True)
class SpectralSmoothness:
    """A lower bound of `max |H X|_*` over `|X|_op <= 1`, nuclear norms summed over tensors, the spectral norm of each.

    Tensors of more than two axes are matrices `x.flatten(1)`; vectors have their Euclidean length for both norms. By
    alternating maximization, `X <- polar(H X)`, the best of `starts` runs of `sweeps` products, the first from the
    gradient; a singular value decomposition of each matrix a product.
    """

    starts: int = 4
    sweeps: int = 8
    statement: ClassVar[str] = "|grad f(X) - grad f(Y)|_nuclear <= C max_l |X_l - Y_l|_op"
    symmetry: ClassVar[str] = "left-right rotation"
    source: ClassVar[str] = "arXiv:2505.13416, arXiv:2502.07529"
    bound: ClassVar[str] = "lower"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = (
        "Of a Haar-rotated Hessian, in a random basis of all coordinates: rotations of rows and columns leave "
        "it as it is."
    )
    refuted: ClassVar[str] = "Muon is not faster where it is small against blockwise smoothness."
    means: ClassVar[str] = (
        "Orthogonalized steps are stable below a rate of 2 / C; small values favour Muon over one rate a tensor."
    )

    def __post_init__(self) -> None:
        """Refuse less than one start or sweep."""
        if self.starts < 1 or self.sweeps < 1:
            raise ValueError("SpectralSmoothness: starts and sweeps must be at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.starts * self.sweeps, "grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`spectral_smoothness`."""
        rng = p.rng("spectral")
        starts = [p.grad, *(gaussian(p.w, rng) for _ in range(self.starts - 1))]
        return {"spectral_smoothness": dual_power(p.hvp, spectral, starts, self.sweeps)[0]}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """By long runs from many starts: for a dozen coordinates."""
        rng = torch.Generator().manual_seed(0)
        starts = [gaussian(p.w, rng) for _ in range(40)]
        return {"spectral_smoothness": dual_power(dense(h, p.w), spectral, starts, 2000)[0]}
