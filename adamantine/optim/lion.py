"""Lion: the sign of an interpolation between momentum and gradient (Chen et al., arXiv:2302.06675)."""

from dataclasses import dataclass

import torch

from adamantine import tree
from adamantine.optim.momentum import fraction
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class Lion(Part):
    """`sign(beta1 m + (1 - beta1) u)`; then `m <- beta2 m + (1 - beta2) u`."""

    beta1: float = 0.9
    beta2: float = 0.99
    symmetry = "signed permutation"

    def __post_init__(self) -> None:
        """Refuse betas outside [0, 1)."""
        fraction("Lion", "beta1", self.beta1)
        fraction("Lion", "beta2", self.beta2)

    def init(self, w: Params) -> State:
        """`m`, zero."""
        return tree.each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The sign first, with the old momentum; then the momentum."""
        out = tree.each(lambda m, x: m.lerp(x, 1 - self.beta1).sign(), s, u)
        return out, tree.each(lambda m, x: m.lerp(x, 1 - self.beta2), s, u)

    def state_bytes(self, w: Params) -> int:
        """One number a coordinate."""
        return tree.size_bytes(w)
