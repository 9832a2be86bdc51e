"""Proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347), as a task whose batches depend on the weights.

Losses and settings are CleanRL's (Huang et al., JMLR 2022), but for this: an episode that runs out of time is not taken
for one that has ended, its last reward is followed by the value of where it was cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from adamantine.control.cart_pole import CartPole
from adamantine.control.world import check_world
from adamantine.nets.tags import named
from adamantine.nets.tower import Tower
from adamantine.point import Draw, stream
from adamantine.role import Tags
from adamantine.tasks.alone import Alone
from adamantine.tasks.policy import Discrete, Gaussian, Policy
from adamantine.tasks.ppo_stream import Stream
from adamantine.tasks.rollouts import returns
from adamantine.tree import Params

EPISODES = 16  # played for a score


@dataclass(frozen=True)
class PPO:
    """Actor and critic, networks of `depth` hidden layers of `width` tanh units, learn to act in `world`
    (arXiv:1707.06347).

    A rollout is `horizon` steps in each of `envs` copies of the world; `epochs` times it is dealt anew into
    `minibatches` batches, each of which is one step of the optimizer. `gamma` discounts rewards, `lam` is the lambda of
    generalized advantages (arXiv:1506.02438), `clip` bounds the ratio of probabilities and the change of values,
    `entropy` and `value` weigh the bonus and the critic's loss. `normalize` scales observations and rewards by running
    statistics, which are the stream's: such weights have no score without it. `held_out` copies are acted in besides
    and not trained on; they change nothing else.

    `behaviour_nats` puts noise into the weights of a copy that acts in place of the actor, anew at each rollout,
    `action_nats` into the actions, so that the policy that acts diverges by so much a rollout, on average
    over rollouts: what one overspends is taken from the next. With the `gate` "silent" only where the rollout before
    had no two different rewards. ValueError where the numbers do not fit.
    """

    world: Any = field(default_factory=CartPole)
    envs: int = 4
    horizon: int = 128
    epochs: int = 4
    minibatches: int = 4
    gamma: float = 0.99
    lam: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    value: float = 0.5
    width: int = 64
    depth: int = 2
    normalize: bool = False
    held_out: int = 0
    behaviour_nats: float = 0.0
    action_nats: float = 0.0
    gate: Literal["always", "silent"] = "always"

    def __post_init__(self) -> None:
        """Refuse what could not be played."""
        check_world("PPO", self.world)
        if min(self.envs, self.horizon, self.epochs, self.minibatches, self.width, self.depth) < 1 or self.held_out < 0:
            raise ValueError(
                "PPO: envs, horizon, epochs, minibatches, width and depth are at least 1, held_out at least 0."
            )
        if self.envs * self.horizon % self.minibatches or self.envs * self.horizon // self.minibatches < 2:
            raise ValueError(
                f"PPO: a rollout of {self.envs} x {self.horizon} steps does not divide into {self.minibatches} "
                "minibatches of at least 2; give minibatches that divide envs * horizon."
            )
        if not (0 <= self.gamma <= 1 and 0 <= self.lam <= 1 and self.clip > 0):
            raise ValueError("PPO: gamma and lam lie in [0, 1], clip is above 0.")
        if min(self.behaviour_nats, self.action_nats) < 0 or self.gate not in ("always", "silent"):
            raise ValueError('PPO: nats are not negative, and gate is "always" or "silent".')

    @property
    def policy(self) -> Policy:
        """What the actor's outputs mean."""
        return Discrete(self.world.actions) if self.world.actions else Gaussian(self.world.size)

    @property
    def actor(self) -> Tower:
        """The network that gives logits or means."""
        return Tower(
            "actor", self.world.observations, self.world.actions or self.world.size, (self.width,) * self.depth
        )

    @property
    def critic(self) -> Tower:
        """The network that gives values."""
        return Tower("critic", self.world.observations, 1, (self.width,) * self.depth)

    @property
    def period(self) -> int:
        """Steps of the optimizer between renewals."""
        return self.epochs * self.minibatches

    def steps(self, env_steps: int) -> int:
        """How many steps of the optimizer so many steps in the world are, over all copies, whole rollouts only.

        ValueError where they are less than one rollout.
        """
        rollouts = env_steps // (self.envs * self.horizon)
        if rollouts < 1:
            raise ValueError(f"PPO: {env_steps} steps are less than one rollout, {self.envs * self.horizon}.")
        return rollouts * self.period

    def init(self, rng: torch.Generator) -> Params:
        """Orthogonal weights, of gain 0.01 in the actor's head so that all actions are about as likely."""
        w = self.actor.orthogonal(rng, 0.01)
        if not self.world.actions:
            w["actor.log_std"] = torch.zeros(self.world.size)
        return {**w, **self.critic.orthogonal(rng, 1.0)}

    def tags(self) -> Tags:
        """The role of every tensor."""
        return named(self.init(torch.Generator()))

    def source(self, rng: torch.Generator) -> Draw:
        """Minibatches of `observation, action, log_prob, advantage, target, value, reward`, each `[B, ...]`.

        Advantages have mean 0 and variance 1 within a minibatch. A new rollout, by the present weights, is a renewal.
        """
        return Alone(self.sources([rng]))

    def sources(self, rngs: Sequence[torch.Generator]) -> Stream:
        """The same for a stack of agents, by weights `[S, ...]`: batches `[S, B, ...]`, each as it would be alone."""
        return Stream(self, rngs)

    def losses(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """Clipped surrogate, less the entropy bonus, and the critic's clipped squared error, `[B]` (or `[S, B]`)."""
        logs, entropy = self.policy.log_prob_and_entropy(*self.acting(w, batch["observation"]), batch["action"])
        ratio = (logs - batch["log_prob"]).exp()
        advantage = batch["advantage"]
        surrogate = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - self.clip, 1 + self.clip))
        old, target, new = batch["value"], batch["target"], self.values(w, batch)
        near = old + (new - old).clamp(-self.clip, self.clip)
        critic = 0.5 * torch.max((new - target).square(), (near - target).square())
        return surrogate - self.entropy * entropy + self.value * critic

    def acting(self, w: Params, observation: Tensor) -> tuple[Tensor, Tensor | None]:
        """The actor's outputs and the logarithm of the standard deviation, None for discrete actions."""
        return self.actor(w, observation), w.get("actor.log_std")

    def distribution(self, w: Params, batch: dict[str, Tensor]) -> Distribution:
        """Of the action in each state of the batch."""
        return self.policy.distribution(*self.acting(w, batch["observation"]))

    def values(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """The critic's values, `[B]`."""
        return self.critic(w, batch["observation"]).squeeze(-1)

    def errors(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """Lambda returns less values, `[B]`."""
        return batch["target"] - self.values(w, batch)

    def activations(self, w: Params, batch: dict[str, Tensor]) -> dict[tuple[str, str], Tensor]:
        """Outputs of all hidden layers, by the names of the layer and of the one that reads it."""
        x = batch["observation"]
        return {**self.actor.activations(w, x), **self.critic.activations(w, x)}

    def score(self, w: Params) -> dict[str, float]:
        """`evaluated`, the mean return of 16 episodes, actions drawn from the policy; nothing with `normalize`."""
        return {k: float(x) for k, x in self.scores({k: x.unsqueeze(0) for k, x in w.items()}).items()}

    @torch.no_grad()
    def scores(self, w: Params) -> dict[str, Tensor]:
        """The same for a stack of agents, `[S]`."""
        if self.normalize:
            return {}
        w = {k: x.cpu() for k, x in w.items() if k.startswith("actor.")}
        like = w["actor.head.bias"]
        rngs = [stream(0, "episodes") for _ in range(len(like))]
        noise = [stream(0, "actions") for _ in rngs]

        def act(x: np.ndarray, t: int) -> np.ndarray:
            drawn = torch.stack([self.policy.noise(g, EPISODES) for g in noise])
            return self.policy.act(*self.acting(w, torch.from_numpy(x).to(like.dtype)), drawn).numpy()

        return {"evaluated": returns(self.world, act, rngs, EPISODES).mean(1)}
