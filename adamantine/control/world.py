"""What a world is: the physics of an environment as pure functions of the states of many copies.

Episodes, time limits and restarts are not the world's: `copies.py` sees to them.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np

Array = np.ndarray


class World(Protocol):
    """Implementations are frozen dataclasses: their fields, the constants of the physics, are their identity.

    `observations` is the length of an observation; `actions` the number of discrete actions, 0 where actions are
    `size` real numbers, which the world cuts off at `low` and `high`; `limit` the steps after which an episode is cut
    off; `uniforms` how many uniform random numbers in [0, 1) a start takes.
    """

    @property
    def observations(self) -> int:
        """Length of an observation."""
        ...

    @property
    def actions(self) -> int:
        """How many discrete actions; 0 where they are continuous."""
        ...

    @property
    def size(self) -> int:
        """Dimensions of a continuous action; 0 where actions are discrete."""
        ...

    @property
    def limit(self) -> int:
        """Steps after which an episode is cut off."""
        ...

    @property
    def uniforms(self) -> int:
        """Uniform numbers that a start takes."""
        ...

    def start(self, u: Array) -> Array:
        """States `[n, k]`, float64, from uniform numbers `[n, uniforms]`."""
        ...

    def step(self, state: Array, action: Array, clock: Array) -> tuple[Array, Array, Array]:
        """The next states `[n, k]`, rewards `[n]` and whether the episode has ended `[n]`.

        `action` is `[n]` of whole numbers or `[n, size]`; `clock`, `[n]`, counts the steps of each copy since its
        experiment began, for worlds that change with time.
        """
        ...

    def observe(self, state: Array) -> Array:
        """Observations `[n, observations]`, float32."""
        ...


class Moved(NamedTuple):
    """What a step of `n` copies brought: `final` are the observations before any restart."""

    reward: Array
    ended: Array
    truncated: Array
    final: Array


def check_world(name: str, world: Any) -> None:
    """Raise TypeError where `world`, given to `name`, is not one."""
    lacking = [x for x in ("observations", "actions", "size", "limit") if not hasattr(world, x)]
    if lacking or not (hasattr(world, "step") or hasattr(world, "open")):
        raise TypeError(
            f"{name}: world {world!r} lacks {', '.join(lacking) or 'step'}; give CartPole(), or "
            'Gym("CartPole-v1") for an environment of Gymnasium.'
        )
