"""The batches that deep Q-learning learns from: a memory of what was met, and targets by a copy of the network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamantine.control.world import Array
from adamantine.tasks.rollouts import Met, Rollouts
from adamantine.tree import Params

Batch = dict[str, Tensor]


class Replay:
    """The last `size` steps of each agent, as it went along; all its randomness comes from its own generator."""

    def __init__(self, task: Any, rngs: Sequence[torch.Generator], copies: int) -> None:
        self.task, self.rngs, self.size = task, rngs, task.memory
        self.rollouts = Rollouts(task.world, rngs, copies)
        s, d = len(rngs), task.world.observations
        self.before, self.after = (np.zeros((s, self.size, d), np.float32) for _ in range(2))
        self.action, self.reward = np.zeros((s, self.size), np.int64), np.zeros((s, self.size), np.float32)
        self.ended = np.zeros((s, self.size), bool)
        self.taken = 0

    def act(self, w: Params, steps: int, env_steps: int) -> None:
        """Take `steps` steps in every copy by the weights `w`; `env_steps` had been taken before over all copies."""
        n, actions = self.rollouts.each, self.task.world.actions
        chance = np.stack([torch.rand(steps, n, generator=g).numpy() for g in self.rngs])
        drawn = np.stack([torch.randint(actions, (steps, n), generator=g).numpy() for g in self.rngs])

        def act(x: Array, t: int) -> Array:
            at_random = chance[:, t] < self.task.epsilon(env_steps + t * n)
            return np.where(at_random, drawn[:, t], self.task.best(w, x).numpy())

        self._keep(self.rollouts.collect(act, steps))

    def _keep(self, met: Met) -> None:
        s, steps, n, d = met.observation.shape
        after = np.concatenate([met.observation[:, 1:], met.last[:, None]], 1)
        after[met.truncated] = met.cut
        count = steps * n
        place = (self.taken + np.arange(count)) % self.size
        for held, new in (
            (self.before, met.observation.reshape(s, count, d)),
            (self.after, after.reshape(s, count, d)),
            (self.action, met.action.reshape(s, count)),
            (self.reward, met.reward.reshape(s, count)),
            (self.ended, met.ended.reshape(s, count)),
        ):
            held[:, place[-self.size :]] = new[:, -self.size :]
        self.taken += count

    def sample(self, w: Params, n: int) -> Batch:
        """`n` steps of each agent, drawn with replacement, with targets by the weights `w` of the copy."""
        filled = min(self.taken, self.size)
        which = np.stack([torch.randint(filled, (n,), generator=g).numpy() for g in self.rngs])
        rows = np.arange(len(which))[:, None]
        after, dtype = torch.from_numpy(self.after[rows, which]), w["critic.head.bias"].dtype
        best = self.task.critic(w, after.to(dtype)).max(-1).values
        goes_on = torch.from_numpy(~self.ended[rows, which])
        reward = torch.from_numpy(self.reward[rows, which])
        return {
            "observation": torch.from_numpy(self.before[rows, which]),
            "action": torch.from_numpy(self.action[rows, which]),
            "target": reward.to(dtype) + self.task.gamma * goes_on * best,
            "reward": reward,
        }

    def state_dict(self) -> dict[str, Any]:
        """All of it but the generators."""
        arrays = {
            k: torch.from_numpy(getattr(self, k).copy()) for k in ("before", "after", "action", "reward", "ended")
        }
        return {"rollouts": self.rollouts.state_dict(), "taken": self.taken, "arrays": arrays}

    def load_state_dict(self, held: dict[str, Any]) -> None:
        """Go on from `held`."""
        self.rollouts.load_state_dict(held["rollouts"])
        self.taken = held["taken"]
        for name, x in held["arrays"].items():
            setattr(self, name, x.cpu().numpy().copy())


class Stream:
    """Batches for a stack of agents."""

    def __init__(self, task: Any, rngs: Sequence[torch.Generator]) -> None:
        self.task, self.rngs, self.renewals = task, rngs, 0
        self.training = Replay(task, rngs, task.envs)
        self.apart = [torch.Generator().manual_seed(g.initial_seed() ^ 0x5EED) for g in rngs] if task.held_out else []
        self.probing = Replay(task, self.apart, task.held_out) if task.held_out else None
        self.held_out: Batch | None = None
        self.copy: Params = {}

    @property
    def resumable(self) -> bool:
        """Whether the copies can be put back."""
        return getattr(self.training.rollouts.copies, "resumable", True)

    @torch.no_grad()
    def __call__(self, w: Params) -> Batch:
        """Act, renew the copy where it is time, and draw."""
        w = {k: x.cpu() for k, x in w.items()}
        before = self.training.rollouts.steps
        steps = (self.task.every if before else self.task.starts) // self.task.envs
        self.training.act(w, steps, before)
        if self.probing is not None:
            self.probing.act(w, steps, before)
        if not before or self.training.rollouts.steps // self.task.sync > before // self.task.sync:
            self.copy = {k: x.clone() for k, x in w.items()}
            self.renewals += 1
            if self.probing is not None:
                self.held_out = self.probing.sample(self.copy, 4 * self.task.batch)
        return self.training.sample(self.copy, self.task.batch)

    def told(self) -> dict[str, Array]:
        """What the training episodes came to, for each agent."""
        return self.training.rollouts.told()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the agents' generators."""
        return {
            "training": self.training.state_dict(),
            "probing": None if self.probing is None else self.probing.state_dict(),
            "apart": [g.get_state() for g in self.apart],
            "held_out": self.held_out,
            "copy": self.copy,
            "renewals": self.renewals,
        }

    def load_state_dict(self, held: dict[str, Any]) -> None:
        """Go on from `held`."""
        self.training.load_state_dict(held["training"])
        if self.probing is not None:
            self.probing.load_state_dict(held["probing"])
        for g, state in zip(self.apart, held["apart"], strict=True):
            g.set_state(state.cpu())
        self.held_out, self.copy, self.renewals = held["held_out"], held["copy"], held["renewals"]
