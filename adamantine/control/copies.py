"""Many copies of a world, each in an episode of its own: time limits, restarts, and whose randomness is whose."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from adamantine.control.world import Array, Moved, World


class Copies:
    """`copies` of `world` for each of the agents whose generators are `rngs`, in the order of the agents.

    An agent's copies start from its own generator alone, so that what it meets does not depend on who else is there.
    """

    def __init__(self, world: World, rngs: Sequence[torch.Generator], copies: int) -> None:
        self.world, self.rngs, self.copies = world, rngs, copies
        n = len(rngs) * copies
        self.state = world.start(self._uniform(np.arange(n)))
        self.elapsed, self.clock = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.observation = world.observe(self.state)

    def step(self, action: Array) -> Moved:
        """Act, and let what has ended or run out of time start again."""
        self.state, reward, ended = self.world.step(self.state, action, self.clock)
        self.clock += 1
        self.elapsed += 1
        truncated = (self.elapsed >= self.world.limit) & ~ended
        final = self.observation = self.world.observe(self.state)
        over = ended | truncated
        if over.any():
            which = np.flatnonzero(over)
            self.state[which] = self.world.start(self._uniform(which))
            self.elapsed[which] = 0
            self.observation = final.copy()
            self.observation[which] = self.world.observe(self.state[which])
        return Moved(reward, ended, truncated, final)

    def _uniform(self, which: Array) -> Array:
        """`[len(which), uniforms]`, every copy's from its agent's generator."""
        out = np.empty((len(which), self.world.uniforms))
        agents, starts = np.unique(which // self.copies, return_index=True)
        for agent, a, b in zip(agents, starts, [*starts[1:], len(which)], strict=True):
            out[a:b] = torch.rand(b - a, out.shape[1], generator=self.rngs[agent], dtype=torch.float64).numpy()
        return out

    def state_dict(self) -> dict[str, Any]:
        """States, times and observations."""
        held = {"state": self.state, "elapsed": self.elapsed, "clock": self.clock, "observation": self.observation}
        return {name: torch.from_numpy(x.copy()) for name, x in held.items()}

    def load_state_dict(self, held: dict[str, Any]) -> None:
        """Go on from `held`; the generators are resumed by whoever owns them."""
        for name, x in held.items():
            setattr(self, name, x.cpu().numpy().copy())


def opened(world: Any, rngs: Sequence[torch.Generator], copies: int) -> Any:
    """`Copies` of a world, or what the world's own `open(rngs, copies)` gives where its physics are not pure functions.

    That has `observation [n, d]`, `step(action) -> Moved`, and `state_dict`, `load_state_dict` or `resumable = False`.
    """
    return world.open(rngs, copies) if hasattr(world, "open") else Copies(world, rngs, copies)
