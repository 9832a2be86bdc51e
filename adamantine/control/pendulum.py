"""A pendulum swung up by a weak motor, as Gymnasium's Pendulum-v1 has it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adamantine.control.world import Array


@dataclass(frozen=True)
class Pendulum:
    """A torque between -2 and 2 N m; the reward is `-(angle^2 + 0.1 speed^2 + 0.001 torque^2)`, the angle from upright.

    `sparse` gives 1 while the angle is below 0.2 and the speed below 1, else 0. It never ends but by the time limit.
    """

    gravity: float = 10.0
    mass: float = 1.0
    length: float = 1.0
    tau: float = 0.05
    limit: int = 200
    sparse: bool = False
    observations: ClassVar[int] = 3
    actions: ClassVar[int] = 0
    size: ClassVar[int] = 1
    low: ClassVar[float] = -2.0
    high: ClassVar[float] = 2.0
    uniforms: ClassVar[int] = 2

    def start(self, u: Array) -> Array:
        """Any angle, speeds in [-1, 1]."""
        return (2 * u - 1) * np.array([math.pi, 1.0])

    def step(self, state: Array, action: Array, clock: Array) -> tuple[Array, Array, Array]:
        """The speed is cut off at 8 rad/s."""
        angle, speed = state.T
        torque = np.clip(action[:, 0], self.low, self.high)
        upright = (angle + math.pi) % (2 * math.pi) - math.pi
        if self.sparse:
            reward = ((np.abs(upright) < 0.2) & (np.abs(speed) < 1.0)).astype(np.float64)
        else:
            reward = -(upright**2 + 0.1 * speed**2 + 0.001 * torque**2)
        pull = 3 * self.gravity / (2 * self.length) * np.sin(angle) + 3.0 / (self.mass * self.length**2) * torque
        speed = np.clip(speed + pull * self.tau, -8.0, 8.0)
        return np.stack([angle + speed * self.tau, speed], 1), reward, np.zeros(len(angle), bool)

    def observe(self, state: Array) -> Array:
        """Cosine and sine of the angle, and the speed."""
        angle, speed = state.T
        return np.stack([np.cos(angle), np.sin(angle), speed], 1).astype(np.float32)
