"""The batches that proximal policy optimization learns from: rollouts, advantages, and how they are dealt."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamantine.control.world import Array
from adamantine.tasks import exploration
from adamantine.tasks.rollouts import Met, Rollouts
from adamantine.tree import Params

Batch = dict[str, Tensor]
MOST = 2.0  # times the nats asked of a rollout, where less was spent before


class Stream:
    """Minibatches for a stack of agents; all randomness of an agent comes from its own generator.

    The copies held out have generators of their own, seeded by the agents', so that they change nothing.
    """

    def __init__(self, task: Any, rngs: Sequence[torch.Generator]) -> None:
        self.task, self.rngs, self.renewals = task, rngs, 0
        self.training = Rollouts(task.world, rngs, task.envs, task.gamma, task.normalize)
        self.apart = [torch.Generator().manual_seed(g.initial_seed() ^ 0x5EED) for g in rngs] if task.held_out else []
        self.probing = Rollouts(task.world, self.apart, task.held_out) if task.held_out else None
        if self.probing is not None and task.normalize:
            self.probing.normalised = _Lent(self.training.normalised)
        self.held_out: Batch | None = None
        self.rollout: Batch = {}
        self.dealt: Batch = {}
        self.at, self.epoch = 0, 0
        self.spent, self.due = np.zeros(len(rngs)), np.zeros(len(rngs))

    @property
    def resumable(self) -> bool:
        """Whether the copies can be put back."""
        return getattr(self.training.copies, "resumable", True)

    def __call__(self, w: Params) -> Batch:
        """The next minibatch; acts first, where the rollout has been used up."""
        if self.at == 0:
            if self.epoch % self.task.epochs == 0:
                self._act(w)
            self._deal()
            self.epoch += 1
        batch = {k: x[:, self.at] for k, x in self.dealt.items()}
        self.at = (self.at + 1) % self.task.minibatches
        return batch

    def told(self) -> dict[str, Array]:
        """What the training episodes came to, for each agent, and how many nats were `spent` on exploring in all."""
        exploring = self.task.behaviour_nats or self.task.action_nats
        return self.training.told() | ({"spent": self.spent} if exploring else {})

    @torch.no_grad()  # not inference mode: its tensors could not take part in a loss
    def _act(self, w: Params) -> None:
        w = {k: x.cpu() for k, x in w.items()}
        acting, size = self._exploring(w)
        self.rollout = self._batch(w, self.training, self.rngs, self.task.envs, acting, size)
        if self.probing is not None:
            held = self._batch(w, self.probing, self.apart, self.task.held_out)
            self.held_out = held | {"advantage": _standardised(held["advantage"])}
        self.renewals += 1

    def _batch(
        self,
        w: Params,
        rollouts: Rollouts,
        rngs: Sequence[torch.Generator],
        copies: int,
        acting: Params | None = None,
        size: Tensor | None = None,
    ) -> Batch:
        policy, steps, like = self.task.policy, self.task.horizon, w["actor.head.bias"]
        noise = torch.stack([policy.noise(g, steps, copies) for g in rngs], 1)

        def outputs(x: Tensor) -> tuple[Tensor, Tensor | None]:
            own = self.task.acting(w if acting is None else acting, x)
            return own if size is None else exploration.mixed(policy, own, size)

        @torch.inference_mode()
        def act(x: Array, t: int) -> Array:
            return policy.act(*outputs(torch.from_numpy(x).to(like.dtype)), noise[t]).numpy()

        met = rollouts.collect(act, steps)
        s, n = met.reward.shape[0], steps * copies
        x, action = torch.from_numpy(met.observation).reshape(s, n, -1), torch.from_numpy(met.action)
        action = action.reshape(s, n, *action.shape[3:])
        seen = x.to(like.dtype)
        logs = policy.log_prob(*outputs(seen), action)
        if acting is not None or size is not None:
            self.spent += exploration.divergence(policy, self.task.acting(w, seen), outputs(seen)).double().numpy()
        value = self.task.critic(w, seen)[..., 0]
        advantage = self._advantages(w, met, value.reshape(met.reward.shape).numpy())
        found = {"observation": x, "action": action, "log_prob": logs, "value": value}
        found |= {"advantage": torch.from_numpy(advantage).reshape(s, n).to(value.dtype)}
        found |= {"target": found["advantage"] + value, "reward": torch.from_numpy(met.reward).reshape(s, n).float()}
        return {k: x.clone() for k, x in found.items()}

    def _exploring(self, w: Params) -> tuple[Params | None, Tensor | None]:
        """The copy of the actor that acts, and the noise in its actions; None for none."""
        task, like = self.task, w["actor.head.bias"]
        if not (task.behaviour_nats or task.action_nats):
            return None, None
        # A rollout meets other states than noise was sized in: what was overspent is paid back before there is more.
        asked = (task.behaviour_nats + task.action_nats) * (self.training.silent | (task.gate == "always"))
        self.due = self.due + asked
        on = np.clip((self.due - self.spent) / np.where(asked > 0, asked, np.inf), 0.0, MOST)
        if not self.rollout:  # where it starts says little of the states it will meet
            return None, None
        x, on = self.rollout["observation"].to(like.dtype), torch.from_numpy(on).to(like.dtype)
        actor = {k: v for k, v in w.items() if k.startswith("actor.")}
        acting, size = None, None
        if task.behaviour_nats:
            nats = task.behaviour_nats * on
            acting = exploration.stirred(task.acting, task.policy, actor, x, self.rngs, nats)
        if task.action_nats:
            size = exploration.widened(task.policy, task.acting(acting or actor, x), task.action_nats * on)
        return acting, size

    def _advantages(self, w: Params, met: Met, value: Array) -> Array:
        """Generalized advantages `[S, T, N]`: `A_t = r_t + gamma V_t+1 - V_t + gamma lam A_t+1` within an episode."""
        like, gamma = w["critic.head.bias"], self.task.gamma
        reward = met.reward
        if len(met.cut):
            reward = reward + gamma * self._cut_values(w, met)
        after = self.task.critic(w, torch.from_numpy(met.last).to(like.dtype))[..., 0].numpy()
        goes_on = gamma * (1.0 - (met.ended | met.truncated))
        delta = reward + goes_on * np.concatenate([value[:, 1:], after[:, None]], 1) - value
        carried = self.task.lam * goes_on
        out, last = np.empty_like(delta), np.zeros_like(after, dtype=np.float64)
        for t in range(delta.shape[1] - 1, -1, -1):
            last = delta[:, t] + carried[:, t] * last
            out[:, t] = last
        return out

    def _cut_values(self, w: Params, met: Met) -> Array:
        """Values where episodes ran out of time, zero elsewhere, `[S, T, N]`."""
        agent, t, copy = np.nonzero(met.truncated)
        place = np.arange(len(agent)) - np.searchsorted(agent, agent)
        padded = np.zeros((met.reward.shape[0], int(place.max()) + 1, met.cut.shape[1]), np.float32)
        padded[agent, place] = met.cut
        values = self.task.critic(w, torch.from_numpy(padded).to(w["critic.head.bias"].dtype))[..., 0].numpy()
        out = np.zeros_like(met.reward)
        out[agent, t, copy] = values[agent, place]
        return out

    def _deal(self) -> None:
        """Cut the rollout into minibatches `[S, minibatches, B, ...]` in an order of each agent's own."""
        n, parts = self.rollout["value"].shape[1], self.task.minibatches
        order = torch.stack([torch.randperm(n, generator=g) for g in self.rngs])
        rows = torch.arange(len(order)).unsqueeze(1)
        self.dealt = {k: x[rows, order].unflatten(1, (parts, n // parts)) for k, x in self.rollout.items()}
        self.dealt["advantage"] = _standardised(self.dealt["advantage"])

    def state_dict(self) -> dict[str, Any]:
        """Everything but the agents' generators."""
        return {
            "training": self.training.state_dict(),
            "probing": None if self.probing is None else self.probing.state_dict(),
            "apart": [g.get_state() for g in self.apart],
            "held_out": self.held_out,
            "rollout": self.rollout,
            "dealt": self.dealt,
            "counts": (self.renewals, self.at, self.epoch),
            "nats": torch.from_numpy(np.stack([self.spent, self.due])),
        }

    def load_state_dict(self, held: dict[str, Any]) -> None:
        """Go on from `held`."""
        self.training.load_state_dict(held["training"])
        if self.probing is not None:
            self.probing.load_state_dict(held["probing"])
        for g, state in zip(self.apart, held["apart"], strict=True):
            g.set_state(state.cpu())
        self.held_out, self.rollout, self.dealt = held["held_out"], held["rollout"], held["dealt"]
        self.renewals, self.at, self.epoch = held["counts"]
        self.spent, self.due = held["nats"].cpu().numpy().copy()


class _Lent:
    """Another's statistics, to which nothing is added."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def observation(self, x: Array, count: bool = True) -> Array:
        return self.owner.observation(x, count=False)

    def reward(self, r: Array, over: Array) -> Array:
        return self.owner.reward(r, over, count=False)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, held: dict[str, Any]) -> None:
        pass


def _standardised(x: Tensor) -> Tensor:
    """Mean 0 and variance 1 along the last axis."""
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-8)
