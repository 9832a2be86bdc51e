"""A rotation that can be turned up from none: plane rotations of paired coordinates (Givens 1958), by one angle."""

import math
from dataclasses import dataclass
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.rotations import permutation
from adamantine.optim.scope import NORMALIZES, Scope, along
from adamantine.tree import Params


@dataclass(frozen=True)
class Givens:
    """Rotate the vectors that `scope` names by `rounds` of plane rotations, of `strength` times 45 degrees each.

    Each round pairs the coordinates at random and turns every pair: with strength 1 a coordinate vector is spread over
    `2^rounds` coordinates, and with 0 nothing happens; between, the rotation is a continuous path. Costs `rounds`
    passes over memory.
    """

    scope: Scope = "layer"
    strength: float = 1.0
    rounds: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        limits.choice(self, get_args(Scope), scope=self.scope)
        limits.whole(self, rounds=self.rounds)
        limits.whole(self, 0, seed=self.seed)
        if not 0 <= self.strength <= 1:
            raise ValueError(f"Givens: strength = {self.strength!r} must lie between 0 and 1.")

    @property
    def normalizes(self) -> frozenset[str]:
        """Every group that contains the rotation."""
        return NORMALIZES[self.scope]

    def forth(self, a: Params) -> Params:
        """Rotated coordinates."""
        return along(self.scope, a, partial(self._turn, back=False))

    def back(self, a: Params) -> Params:
        """Inverse of `forth`."""
        return along(self.scope, a, partial(self._turn, back=True))

    def _turn(self, x: Tensor, back: bool) -> Tensor:
        d, angle = x.shape[1], self.strength * math.pi / 4
        c, s = math.cos(angle), math.sin(angle) * (-1 if back else 1)
        half = d // 2
        for i in reversed(range(self.rounds)) if back else range(self.rounds):
            order, inverse = permutation(d, self.seed, x.device, f"givens{i}")
            x = x.index_select(1, order)
            a, b = x[:, :half], x[:, half : 2 * half]
            x = torch.cat([c * a - s * b, s * a + c * b, x[:, 2 * half :]], 1).index_select(1, inverse)
        return x
