"""What agents meet while they act: observations, actions and rewards of many steps, and how their episodes went."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adamantine.control.copies import opened
from adamantine.control.normalised import Normalised
from adamantine.control.world import Array

WINDOW = 100  # episodes that the return is the mean of


class Met(NamedTuple):
    """`T` steps of `N` copies for each of `S` agents.

    `observation [S, T, N, d]` is what was acted upon, `last [S, N, d]` what comes next; `cut` holds the observation at
    the end of each episode that ran out of time, in the order of `np.nonzero(truncated)`.
    """

    observation: Array
    action: Array
    reward: Array
    ended: Array
    truncated: Array
    last: Array
    cut: Array


Act = Callable[[Array, int], Array]


class Rollouts:
    """`copies` of a world for each agent, acted in for stretches of time."""

    def __init__(
        self, world: Any, rngs: Sequence[torch.Generator], copies: int, gamma: float = 1.0, normalize: bool = False
    ) -> None:
        self.world, self.agents, self.each = world, len(rngs), copies
        self.copies = opened(world, rngs, copies)
        self.normalised: Any = Normalised(len(rngs), copies, world.observations, gamma) if normalize else None
        self.running = np.zeros((len(rngs), copies))
        self.finished = [deque(maxlen=WINDOW) for _ in rngs]
        self.episodes, self.steps = np.zeros(len(rngs)), 0
        self.silent = np.ones(len(rngs), bool)
        self.observation = self._seen(self.copies.observation)

    def collect(self, act: Act, steps: int) -> Met:
        """Take `steps` steps by `act(observations [S, N, d], t)`, which gives actions `[S, N, ...]`."""
        s, n, d = self.observation.shape
        observation = np.empty((s, steps, n, d), np.float32)
        reward, ended, truncated = np.empty((s, steps, n)), *(np.empty((s, steps, n), bool) for _ in range(2))
        action, cut, rewards = [], [], np.empty((s, steps, n))
        for t in range(steps):
            chosen = act(self.observation, t)
            moved = self.copies.step(chosen.reshape(s * n, *chosen.shape[2:]))
            observation[:, t] = self.observation
            action.append(chosen)
            rewards[:, t] = moved.reward.reshape(s, n)
            ended[:, t], truncated[:, t] = moved.ended.reshape(s, n), moved.truncated.reshape(s, n)
            over = ended[:, t] | truncated[:, t]
            self._count(rewards[:, t], over)
            reward[:, t] = rewards[:, t] if self.normalised is None else self.normalised.reward(rewards[:, t], over)
            if moved.truncated.any():
                which = np.flatnonzero(moved.truncated)
                cut.append((which, t, self._final(moved.final)[which]))
            self.observation = self._seen(self.copies.observation)
        self.silent = (rewards == rewards[:, :1, :1]).all((1, 2))
        return Met(observation, np.stack(action, 1), reward, ended, truncated, self.observation, self._ordered(cut, d))

    def told(self) -> dict[str, Array]:
        """For each agent: `return`, the mean of the last 100 episodes (NaN before the first), `episodes`, `env_steps`.

        Of a world that changes, `changes` of it too. Rewards are as the world gives them.
        """
        means = np.array([np.mean(x) if x else np.nan for x in self.finished])
        told = {"return": means, "episodes": self.episodes, "env_steps": np.full(self.agents, float(self.steps))}
        if hasattr(self.world, "changes"):
            told["changes"] = np.full(self.agents, float(self.world.changes(self.steps // self.each)))
        return told

    def _count(self, reward: Array, over: Array) -> None:
        self.running += reward
        self.steps += self.each
        for agent, copy in zip(*np.nonzero(over), strict=True):
            self.finished[agent].append(self.running[agent, copy])
            self.running[agent, copy] = 0.0
            self.episodes[agent] += 1

    def _seen(self, flat: Array) -> Array:
        x = flat.reshape(self.agents, self.each, -1)
        return x if self.normalised is None else self.normalised.observation(x)

    def _final(self, flat: Array) -> Array:
        """Observations that nobody acts upon, and that do not count, `[S N, d]`."""
        if self.normalised is None:
            return flat
        return self.normalised.observation(flat.reshape(self.agents, self.each, -1), count=False).reshape(flat.shape)

    def _ordered(self, cut: list[tuple[Array, int, Array]], d: int) -> Array:
        """By agent, time and copy, as `np.nonzero` has them."""
        if not cut:
            return np.empty((0, d), np.float32)
        which = np.concatenate([w for w, _, _ in cut])
        t = np.concatenate([np.full(len(w), t) for w, t, _ in cut])
        return np.concatenate([x for _, _, x in cut])[np.lexsort((which % self.each, t, which // self.each))]

    def state_dict(self) -> dict[str, Any]:
        """All of it but the generators, which are their owner's."""
        return {
            "copies": self.copies.state_dict(),
            "normalised": None if self.normalised is None else self.normalised.state_dict(),
            "running": torch.from_numpy(self.running.copy()),
            "finished": [torch.tensor(list(x), dtype=torch.float64) for x in self.finished],
            "episodes": torch.from_numpy(self.episodes.copy()),
            "steps": self.steps,
            "silent": torch.from_numpy(self.silent),
            "observation": torch.from_numpy(self.observation),
        }

    def load_state_dict(self, held: dict[str, Any]) -> None:
        """Go on from `held`."""
        self.copies.load_state_dict(held["copies"])
        if self.normalised is not None:
            self.normalised.load_state_dict(held["normalised"])
        self.running, self.episodes = (held[k].cpu().numpy().copy() for k in ("running", "episodes"))
        self.finished = [deque(x.tolist(), maxlen=WINDOW) for x in held["finished"]]
        self.steps, self.silent = held["steps"], held["silent"].cpu().numpy()
        self.observation = held["observation"].cpu().numpy()


def returns(world: Any, act: Act, rngs: Sequence[torch.Generator], copies: int) -> Tensor:
    """The first return of every copy of a new world, `[S, copies]`, acting by `act(observations [S, copies, d], t)`."""
    opening = opened(world, rngs, copies)
    total = np.zeros((len(rngs), copies))
    going = np.ones_like(total, bool)
    for t in range(world.limit):
        x = opening.observation.reshape(len(rngs), copies, -1)
        chosen = act(x, t)
        moved = opening.step(chosen.reshape(len(rngs) * copies, *chosen.shape[2:]))
        total += np.where(going, moved.reward.reshape(total.shape), 0.0)
        going &= ~(moved.ended | moved.truncated).reshape(total.shape)
        if not going.any():
            break
    return torch.from_numpy(total)
