"""An underpowered car in a valley (Moore 1990), as Gymnasium's MountainCar-v0 has it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adamantine.control.world import Array


@dataclass(frozen=True)
class MountainCar:
    """Push left (0), not at all (1) or right (2), a reward of -1 a step until the car is at `goal`.

    `sparse` gives 1 at the goal and 0 before.
    """

    force: float = 0.001
    gravity: float = 0.0025
    goal: float = 0.5
    limit: int = 200
    sparse: bool = False
    observations: ClassVar[int] = 2
    actions: ClassVar[int] = 3
    size: ClassVar[int] = 0
    uniforms: ClassVar[int] = 1

    def start(self, u: Array) -> Array:
        """At rest between -0.6 and -0.4."""
        return np.concatenate([0.2 * u - 0.6, np.zeros((len(u), 1))], 1)

    def step(self, state: Array, action: Array, clock: Array) -> tuple[Array, Array, Array]:
        """The speed is cut off at 0.07, the place at -1.2, where the car stops, and 0.6."""
        x, v = state.T
        v = np.clip(v + (action - 1) * self.force - np.cos(3 * x) * self.gravity, -0.07, 0.07)
        x = np.clip(x + v, -1.2, 0.6)
        v = np.where((x == -1.2) & (v < 0), 0.0, v)
        ended = (x >= self.goal) & (v >= 0)
        return np.stack([x, v], 1), ended.astype(np.float64) if self.sparse else np.full(len(x), -1.0), ended

    def observe(self, state: Array) -> Array:
        """Place and speed."""
        return state.astype(np.float32)
