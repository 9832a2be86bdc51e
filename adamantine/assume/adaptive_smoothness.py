"""Adaptive smoothness: what a diagonal preconditioner has to be to bound the Hessian from both sides."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.operator import Operator, hessian
from adamantine.solvers.vector_power import vector_power


@dataclass(frozen=True)
class AdaptiveSmoothness:
    """`min { tr D : D diagonal, -D <= H <= D }`, from below: what replaces `d L` in bounds of diagonal methods.

    By duality it is the largest `sum_ij H_ij <u_i, v_j>` over unit vectors, which alternating maximization over vectors
    of length `rank` approaches from inside; the largest 1-norm over sign vectors, `max_norm_smoothness`, is the same
    with numbers for vectors, at most this and at least 1 / 1.79 of it (Grothendieck's constant). It is at most the
    (1,1)-norm, and at most `d` times the largest eigenvalue in size. Costs `rank * sweeps` Hessian-vector products. NaN
    where a product is.
    """

    rank: int = 4
    sweeps: int = 8
    statement: ClassVar[str] = "-D <= H <= D with tr D <= Lambda, D diagonal"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:2511.20584, arXiv:2002.08056"
    bound: ClassVar[str] = "lower"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "Of a Haar-rotated Hessian, measured at the same batch in a random basis."
    refuted: ClassVar[str] = (
        "Bases in which it is smaller do not train faster under methods with a diagonal second moment."
    )
    means: ClassVar[str] = (
        "The constant of Adam and AdaGrad where d L is that of one shared second moment: the smaller share "
        "favours a full one."
    )

    def __post_init__(self) -> None:
        """Refuse less than one vector or sweep."""
        if self.rank < 1 or self.sweeps < 1:
            raise ValueError("AdaptiveSmoothness: rank and sweeps must be at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.rank * self.sweeps}

    def __call__(self, p: Point) -> dict[str, float]:
        """`adaptive_smoothness`."""
        return {"adaptive_smoothness": vector_power(hessian(p), self.rank, self.sweeps, p.rng("vectors"))}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """By as many sweeps over full vectors as it takes, from several starts: for a dozen coordinates."""
        a = Operator(lambda v: h @ v, len(h), h)
        rngs = (torch.Generator().manual_seed(i) for i in range(4))
        return {"adaptive_smoothness": max(vector_power(a, 2 * len(h), 3000, rng) for rng in rngs)}
