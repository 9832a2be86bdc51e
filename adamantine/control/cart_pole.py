"""A pole balanced on a cart (Barto, Sutton & Anderson 1983), as Gymnasium's CartPole-v1 has it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adamantine.control.world import Array


@dataclass(frozen=True)
class CartPole:
    """Push the cart left (0) or right (1), a reward of 1 a step, until the pole falls or the cart leaves.

    Masses in kg, `length` (half the pole's) in m, `force` in N, `tau` in s. `sparse` gives 1 only for the step that
    reaches the time limit; the state then counts its steps.
    """

    gravity: float = 9.8
    cart: float = 1.0
    pole: float = 0.1
    length: float = 0.5
    force: float = 10.0
    tau: float = 0.02
    limit: int = 500
    sparse: bool = False
    observations: ClassVar[int] = 4
    actions: ClassVar[int] = 2
    size: ClassVar[int] = 0
    uniforms: ClassVar[int] = 4

    def start(self, u: Array) -> Array:
        """All four numbers uniform in [-0.05, 0.05]; behind them the steps so far."""
        return np.concatenate([0.1 * u - 0.05, np.zeros((len(u), 1))], 1)

    def step(self, state: Array, action: Array, clock: Array) -> tuple[Array, Array, Array]:
        """Euler's method; the episode ends beyond 2.4 m or 12 degrees."""
        x, v, angle, spin, steps = state.T
        force = np.where(action == 1, self.force, -self.force)
        cos, sin = np.cos(angle), np.sin(angle)
        total = self.cart + self.pole
        pushed = (force + self.pole * self.length * spin * spin * sin) / total
        turn = (self.gravity * sin - cos * pushed) / (self.length * (4.0 / 3.0 - self.pole * cos * cos / total))
        slide = pushed - self.pole * self.length * turn * cos / total
        new = np.stack(
            [x + self.tau * v, v + self.tau * slide, angle + self.tau * spin, spin + self.tau * turn, steps + 1], 1
        )
        ended = (np.abs(new[:, 0]) > 2.4) | (np.abs(new[:, 2]) > 12 * 2 * math.pi / 360)
        reward = (~ended & (new[:, 4] >= self.limit)).astype(np.float64) if self.sparse else np.ones(len(new))
        return new, reward, ended

    def observe(self, state: Array) -> Array:
        """Position, speed, angle, angular speed."""
        return state[:, :4].astype(np.float32)
