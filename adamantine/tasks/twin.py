"""The supervised twin of a control task: the same networks, batches and steps, and an objective that stays."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from adamantine.point import Draw, stream
from adamantine.role import Tags
from adamantine.tasks.alone import Alone
from adamantine.tasks.ppo import PPO
from adamantine.tree import Params

Batch = dict[str, Tensor]
HELD_OUT = 2048


@dataclass(frozen=True)
class Twin:
    """Imitate a fixed random teacher with the networks of `task`: its actions by the actor, its values by the critic.

    Observations are standard normal. As many examples as a rollout has are drawn at once and dealt into minibatches as
    often as the task deals its own, so that examples are seen again, and new ones are a renewal; but the objective
    never changes. The loss is the cross-entropy of the teacher's action and, weighed as the task weighs it, half the
    squared error of its value plus normal noise of deviation `noise`. What an optimizer gains here it does not gain by
    being made for reinforcement learning.
    """

    task: PPO = field(default_factory=PPO)
    noise: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a task that has no actor."""
        if not isinstance(self.task, PPO):
            raise TypeError(f"Twin: task is {self.task!r}; give a PPO.")

    @property
    def period(self) -> int:
        """Steps between renewals."""
        return self.task.period

    def init(self, rng: torch.Generator) -> Params:
        """As the task's."""
        return self.task.init(rng)

    def tags(self) -> Tags:
        """As the task's."""
        return self.task.tags()

    def source(self, rng: torch.Generator) -> Draw:
        """Batches of `observation, action, target, reward`; the reward is always 0."""
        return Alone(self.sources([rng]))

    def sources(self, rngs: Sequence[torch.Generator]) -> "Stream":
        """The same for a stack of runs."""
        return Stream(self, rngs)

    def teacher(self) -> Params:
        """Its weights: a start like any, but that the actor's head is as large as the other layers."""
        w = self.task.init(stream(self.seed, "teacher"))
        return {k: 100 * x if k == "actor.head.weight" else x for k, x in w.items()}

    def examples(self, rng: torch.Generator, n: int) -> Batch:
        """`n` of them."""
        w, policy = self.teacher(), self.task.policy
        x = torch.randn(n, self.task.world.observations, generator=rng)
        action = policy.act(*self.task.acting(w, x), policy.noise(rng, n))
        value = self.task.values(w, {"observation": x}) + self.noise * torch.randn(n, generator=rng)
        return {"observation": x, "action": action, "target": value, "reward": torch.zeros(n)}

    def losses(self, w: Params, batch: Batch) -> Tensor:
        """Cross-entropy, and the critic's half squared error, `[B]` (or `[S, B]`)."""
        logs = self.task.policy.log_prob(*self.task.acting(w, batch["observation"]), batch["action"])
        return 0.5 * self.task.value * self.errors(w, batch).square() - logs

    def distribution(self, w: Params, batch: Batch) -> Distribution:
        """Of the action in each state."""
        return self.task.distribution(w, batch)

    def values(self, w: Params, batch: Batch) -> Tensor:
        """The critic's values, `[B]`."""
        return self.task.values(w, batch)

    def errors(self, w: Params, batch: Batch) -> Tensor:
        """The teacher's values less those, `[B]`."""
        return batch["target"] - self.values(w, batch)

    def activations(self, w: Params, batch: Batch) -> dict[tuple[str, str], Tensor]:
        """Outputs of all hidden layers."""
        return self.task.activations(w, batch)

    @torch.no_grad()
    def score(self, w: Params) -> dict[str, float]:
        """`held_out` loss on 2,048 examples."""
        batch = self.examples(stream(self.seed, "held out"), HELD_OUT)
        return {"held_out": float(self.losses({k: x.cpu().float() for k, x in w.items()}, batch).mean())}


class Stream:
    """Batches for a stack of runs; all randomness of a run comes from its own generator."""

    def __init__(self, twin: Twin, rngs: Sequence[torch.Generator]) -> None:
        self.twin, self.rngs, self.renewals, self.at = twin, rngs, 0, 0
        self.apart = [torch.Generator().manual_seed(g.initial_seed() ^ 0x5EED) for g in rngs]
        self.held_out: Batch | None = None
        self.drawn: Batch = {}
        self.dealt: Batch = {}

    def __call__(self, w: Params) -> Batch:
        """The next minibatch."""
        task, parts = self.twin.task, self.twin.task.minibatches
        n = task.envs * task.horizon
        if self.at % (parts * task.epochs) == 0:
            self.drawn = _stacked([self.twin.examples(g, n) for g in self.rngs])
            if task.held_out:
                self.held_out = _stacked([self.twin.examples(g, task.held_out * task.horizon) for g in self.apart])
            self.renewals += 1
        if self.at % parts == 0:
            order = torch.stack([torch.randperm(n, generator=g) for g in self.rngs])
            rows = torch.arange(len(order)).unsqueeze(1)
            self.dealt = {k: x[rows, order].unflatten(1, (parts, n // parts)) for k, x in self.drawn.items()}
        batch = {k: x[:, self.at % parts] for k, x in self.dealt.items()}
        self.at += 1
        return batch

    def told(self) -> dict[str, Any]:
        """Nothing that the rows do not say."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything but the runs' generators."""
        apart = [g.get_state() for g in self.apart]
        held = {"held_out": self.held_out, "drawn": self.drawn, "dealt": self.dealt, "apart": apart}
        return {**held, "counts": (self.renewals, self.at)}

    def load_state_dict(self, held: dict[str, Any]) -> None:
        """Go on from `held`."""
        self.held_out, self.drawn, self.dealt = held["held_out"], held["drawn"], held["dealt"]
        self.renewals, self.at = held["counts"]
        for g, state in zip(self.apart, held["apart"], strict=True):
            g.set_state(state.cpu())


def _stacked(batches: list[Batch]) -> Batch:
    return {k: torch.stack([b[k] for b in batches]) for k in batches[0]}
