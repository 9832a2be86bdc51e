"""Blockwise smoothness: the geometry of methods with one second moment a tensor."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.dual_power import blocks, dense, dual_power, gaussian


@dataclass(frozen=True)
class BlockwiseSmoothness:
    """A lower bound of `max sum_b sqrt(d_b) |(H x)_b|_2` over `|x_b|_2 <= sqrt(d_b)`, with the tensors as blocks `b`.

    It is smoothness in the norm `max_b |x_b|_2 / sqrt(d_b)`: between `d L` with one block and smoothness in the maximum
    norm with a block for each coordinate, and in the same units as these. By alternating maximization, the best of
    `starts` runs of `sweeps` products, the first from the gradient.
    """

    starts: int = 4
    sweeps: int = 8
    statement: ClassVar[str] = "|grad f(x) - grad f(y)|_* <= C |x - y| in |x| = max_b |x_b|_2 / sqrt(d_b)"
    symmetry: ClassVar[str] = "layer rotation"
    source: ClassVar[str] = "arXiv:2410.08198, arXiv:2406.16793"
    bound: ClassVar[str] = "lower"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "Rotations within tensors leave it as it is; `d smoothness` is its value for one block."
    refuted: ClassVar[str] = "Adam with one second moment a tensor is not ranked by it against AdaSGD and Adam."
    means: ClassVar[str] = (
        "Where it is far below d L, one rate a tensor helps; where smoothness in the maximum norm is far "
        "below it, one a coordinate."
    )

    def __post_init__(self) -> None:
        """Refuse less than one start or sweep."""
        if self.starts < 1 or self.sweeps < 1:
            raise ValueError("BlockwiseSmoothness: starts and sweeps must be at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.starts * self.sweeps, "grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`blockwise_smoothness`."""
        rng = p.rng("blocks")
        starts = [p.grad, *(gaussian(p.w, rng) for _ in range(self.starts - 1))]
        return {"blockwise_smoothness": dual_power(p.hvp, blocks, starts, self.sweeps)[0]}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """By long runs from many starts: for a dozen coordinates."""
        rng = torch.Generator().manual_seed(0)
        starts = [gaussian(p.w, rng) for _ in range(40)]
        return {"blockwise_smoothness": dual_power(dense(h, p.w), blocks, starts, 2000)[0]}
