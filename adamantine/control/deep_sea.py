"""Deep sea (Osband et al., arXiv:1908.03568): a treasure that only one of `2^size` ways leads to."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from adamantine.control.world import Array


@dataclass(frozen=True)
class DeepSea:
    """A diver sinks one row a step through a square of `depth` x `depth`, one column to the left or to the right.

    Which of the two actions means right is drawn for every cell by `seed`. Each move to the right costs
    `cost / depth`; the one in the last cell of the last column brings 1. `sparse` costs nothing.
    """

    depth: int = 10
    cost: float = 0.01
    seed: int = 0
    sparse: bool = False
    actions: ClassVar[int] = 2
    size: ClassVar[int] = 0
    uniforms: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.depth < 2:
            raise ValueError(f"DeepSea: depth is {self.depth}; it must be at least 2.")

    @property
    def observations(self) -> int:
        """The cells, one of which is 1."""
        return self.depth**2

    @property
    def limit(self) -> int:
        """An episode is as long as the sea is deep."""
        return self.depth

    @cached_property
    def right(self) -> Array:
        """The action that means right, `[depth, depth]`."""
        return np.random.default_rng(self.seed).integers(0, 2, (self.depth, self.depth))

    def start(self, u: Array) -> Array:
        """At the upper left."""
        return np.zeros((len(u), 2))

    def step(self, state: Array, action: Array, clock: Array) -> tuple[Array, Array, Array]:
        """It ends in the last row."""
        row, column = state.T.astype(np.int64)
        right = action == self.right[row, column]
        reward = np.where(right, 0.0 if self.sparse else -self.cost / self.depth, 0.0)
        reward += right & (row == self.depth - 1) & (column == self.depth - 1)
        column = np.clip(column + np.where(right, 1, -1), 0, self.depth - 1)
        return np.stack([row + 1.0, column], 1), reward, row + 1 == self.depth

    def observe(self, state: Array) -> Array:
        """The cell; nothing below the last row."""
        row, column = state.T.astype(np.int64)
        out = np.zeros((len(state), self.depth**2), np.float32)
        here = row < self.depth
        out[np.flatnonzero(here), (row * self.depth + column)[here]] = 1.0
        return out
