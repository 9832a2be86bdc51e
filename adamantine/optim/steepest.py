"""The step of length one that falls fastest in a norm: what separates gradient, sign and spectral descent."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from adamantine import tree
from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.solvers.dual_power import blocks, spectral
from adamantine.tree import Params

Norm = Literal["euclidean", "maximum", "blocks", "spectral"]
SYMMETRY = {
    "euclidean": "rotation",
    "maximum": "signed permutation",
    "blocks": "layer rotation",
    "spectral": "left-right rotation",
}


@dataclass(frozen=True)
class Steepest(Part):
    """The `x` of norm one with the largest `<u, x>`: the dual direction of `u` (arXiv:2409.20325).

    "euclidean": `u / |u|_2`, normalized descent. "maximum": `sign(u)`. "blocks": each tensor scaled to root mean square
    one, for the norm `max_b |x_b|_2 / sqrt(d_b)`. "spectral": the polar factor of each matrix, exactly, and vectors
    scaled to length one, for the largest spectral norm over tensors. Zero stays zero.
    """

    norm: Norm = "euclidean"

    def __post_init__(self) -> None:
        limits.choice(self, get_args(Norm), norm=self.norm)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whatever keeps the norm."""
        return SYMMETRY[self.norm]

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Unless one length is shared by all tensors."""
        return self.norm != "euclidean"

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The dual direction."""
        if self.norm == "maximum":
            return tree.each(torch.sign, u), s
        if self.norm == "euclidean":
            length = tree.norm(u)
            return {k: x / torch.where(length > 0, length, 1.0) for k, x in u.items()}, s
        return (blocks if self.norm == "blocks" else spectral)(u)[0], s
