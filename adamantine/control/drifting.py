"""A world whose physics change: one constant is drawn anew at times."""

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np

from adamantine.control.world import Array


@dataclass(frozen=True)
class Drifting:
    """`world` with its constant `field` uniform in [`low`, `high`], drawn anew every `period` steps of each copy.

    The sequence of constants is given by `seed` alone: all agents, copies and runs meet the same one. ValueError where
    the world has no such constant.
    """

    world: Any
    field: str
    low: float
    high: float
    period: int
    seed: int = 0

    def __post_init__(self) -> None:
        constants = [f.name for f in dataclasses.fields(self.world) if isinstance(getattr(self.world, f.name), float)]
        if self.field not in constants:
            near = difflib.get_close_matches(self.field, constants, 3, 0.3) or constants
            raise ValueError(f"Drifting: {self.world!r} has no number {self.field!r}; it has {', '.join(near)}.")
        if self.period < 1 or not self.low <= self.high:
            raise ValueError("Drifting: period is at least 1, low not above high.")

    @property
    def observations(self) -> int:
        """The world's."""
        return self.world.observations

    @property
    def actions(self) -> int:
        """The world's."""
        return self.world.actions

    @property
    def size(self) -> int:
        """The world's."""
        return self.world.size

    @property
    def limit(self) -> int:
        """The world's."""
        return self.world.limit

    @property
    def uniforms(self) -> int:
        """The world's."""
        return self.world.uniforms

    def changes(self, clock: int) -> int:
        """How often the constant has been drawn anew after so many steps of a copy."""
        return clock // self.period

    def at(self, change: int) -> Any:
        """The world after so many changes."""
        drawn = np.random.default_rng((self.seed, change)).uniform(self.low, self.high)
        return dataclasses.replace(self.world, **{self.field: float(drawn)})

    def start(self, u: Array) -> Array:
        """The world's."""
        return self.world.start(u)

    def step(self, state: Array, action: Array, clock: Array) -> tuple[Array, Array, Array]:
        """By the constant of the time."""
        change = clock // self.period
        first = int(change[0])
        if (change == first).all():
            return self.at(first).step(state, action, clock)
        new, reward, ended = np.empty_like(state), np.empty(len(state)), np.empty(len(state), bool)
        for k in np.unique(change):
            which = change == k
            new[which], reward[which], ended[which] = self.at(int(k)).step(state[which], action[which], clock[which])
        return new, reward, ended

    def observe(self, state: Array) -> Array:
        """The world's."""
        return self.world.observe(state)
