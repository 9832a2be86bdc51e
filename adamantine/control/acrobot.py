"""Two links, one motor between them (Sutton 1996), as Gymnasium's Acrobot-v1 has it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from adamantine.control.world import Array


@dataclass(frozen=True)
class Acrobot:
    """Swing the tip above the line, a reward of -1 a step until it is there.

    Masses in kg, lengths and `centre`s of mass in m, `inertia` of each link in kg m^2, the motor's `torque` in N m
    times -1, 0 or 1, `tau` in s; one step of fourth-order Runge-Kutta by the equations of Sutton & Barto's book.
    `sparse` gives 1 at the goal and 0 before.
    """

    mass1: float = 1.0
    mass2: float = 1.0
    length1: float = 1.0
    centre1: float = 0.5
    centre2: float = 0.5
    inertia: float = 1.0
    gravity: float = 9.8
    torque: float = 1.0
    tau: float = 0.2
    limit: int = 500
    sparse: bool = False
    observations: ClassVar[int] = 6
    actions: ClassVar[int] = 3
    size: ClassVar[int] = 0
    uniforms: ClassVar[int] = 4

    def start(self, u: Array) -> Array:
        """Angles and speeds uniform in [-0.1, 0.1]."""
        return 0.2 * u - 0.1

    def step(self, state: Array, action: Array, clock: Array) -> tuple[Array, Array, Array]:
        """Angles are wrapped to [-pi, pi], speeds cut off at 4 pi and 9 pi."""
        push, h, y = self.torque * (action - 1.0), self.tau, state.T
        k1 = self._slopes(y, push)
        k2 = self._slopes(y + h / 2 * k1, push)
        k3 = self._slopes(y + h / 2 * k2, push)
        k4 = self._slopes(y + h * k3, push)
        new = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        new[:2] -= 2 * math.pi * np.ceil((new[:2] - math.pi) / (2 * math.pi))
        for row, bound in ((2, 4 * math.pi), (3, 9 * math.pi)):
            np.clip(new[row], -bound, bound, out=new[row])
        ended = -np.cos(new[0]) - np.cos(new[1] + new[0]) > 1.0
        return new.T.copy(), np.where(ended, 1.0, 0.0) if self.sparse else np.where(ended, 0.0, -1.0), ended

    def observe(self, state: Array) -> Array:
        """Cosine and sine of both angles, and the speeds."""
        a, b, da, db = state.T
        return np.stack([np.cos(a), np.sin(a), np.cos(b), np.sin(b), da, db], 1).astype(np.float32)

    def _slopes(self, y: Array, push: Array) -> Array:
        a, b, da, db = y
        m1, m2, l1, c1, c2, i, g = (
            self.mass1,
            self.mass2,
            self.length1,
            self.centre1,
            self.centre2,
            self.inertia,
            self.gravity,
        )
        cos, sin = np.cos(b), np.sin(b)
        d1 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * cos) + 2 * i
        d2 = m2 * (c2**2 + l1 * c2 * cos) + i
        phi2 = m2 * c2 * g * np.sin(a + b)
        phi1 = -m2 * l1 * c2 * db * (db + 2 * da) * sin + (m1 * c1 + m2 * l1) * g * np.sin(a) + phi2
        turn2 = (push + d2 / d1 * phi1 - m2 * l1 * c2 * da * da * sin - phi2) / (m2 * c2**2 + i - d2 * d2 / d1)
        return np.stack([da, db, -(d2 * turn2 + phi1) / d1, turn2])
