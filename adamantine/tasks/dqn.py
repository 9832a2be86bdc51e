"""Deep Q-learning (Mnih et al. 2015), as a task whose targets come from a copy of the network that is renewed at times.

Settings are CleanRL's (Huang et al., JMLR 2022) for classic control.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from adamantine.control.cart_pole import CartPole
from adamantine.control.world import check_world
from adamantine.nets.tags import named
from adamantine.nets.tower import Tower
from adamantine.point import Draw, stream
from adamantine.role import Tags
from adamantine.tasks.alone import Alone
from adamantine.tasks.dqn_stream import Stream
from adamantine.tasks.rollouts import returns
from adamantine.tree import Params

EPISODES = 16  # played for a score


@dataclass(frozen=True)
class DQN:
    """A network of ReLU layers learns the value of each action in `world` from a memory of what it has met.

    `starts` steps are taken before the first step of the optimizer, `every` before each further one, over all of `envs`
    copies together. Every step acts at random with a probability that falls from `first` to `last` over the first
    `exploration` steps. A batch is drawn from the last `memory` steps; its targets are `r + gamma max_a Q'(s', a)` of a
    copy `Q'` of the network, renewed every `sync` steps. `held_out` copies of the world are acted in besides, with a
    memory of their own, and not trained on; they change nothing else. ValueError where the numbers do not fit.
    """

    world: Any = field(default_factory=CartPole)
    envs: int = 1
    memory: int = 10_000
    batch: int = 128
    starts: int = 10_000
    every: int = 10
    sync: int = 500
    gamma: float = 0.99
    first: float = 1.0
    last: float = 0.05
    exploration: int = 250_000
    widths: tuple[int, ...] = (120, 84)
    held_out: int = 0

    def __post_init__(self) -> None:
        """Refuse what could not be played."""
        check_world("DQN", self.world)
        if not self.world.actions:
            raise ValueError(
                f"DQN: the actions of {self.world!r} are continuous, and it chooses among discrete ones; "
                "give PPO(world), or another world."
            )
        sizes = (self.envs, self.memory, self.batch, self.every, self.sync, self.exploration, *self.widths)
        if min(sizes) < 1 or self.held_out < 0:
            raise ValueError("DQN: sizes and periods are at least 1, held_out at least 0.")
        if self.starts < self.envs or self.starts % self.envs or self.every % self.envs or self.sync % self.every:
            raise ValueError(
                f"DQN: starts = {self.starts} and every = {self.every} must be multiples of envs = {self.envs}, and "
                f"sync = {self.sync} of every."
            )
        if not (0 <= self.gamma <= 1 and 0 <= self.last <= self.first <= 1):
            raise ValueError("DQN: gamma lies in [0, 1], and last <= first are probabilities.")

    @property
    def critic(self) -> Tower:
        """The network that gives the value of every action."""
        return Tower("critic", self.world.observations, self.world.actions, self.widths, torch.relu)

    def epsilon(self, env_step: int) -> float:
        """Probability of a random action after so many steps."""
        return max(self.last, self.first + (self.last - self.first) * env_step / self.exploration)

    @property
    def period(self) -> int:
        """Steps of the optimizer between renewals."""
        return self.sync // self.every

    def steps(self, env_steps: int) -> int:
        """How many steps of the optimizer so many steps in the world are; ValueError where they are not one."""
        if env_steps < self.starts + self.every:
            raise ValueError(f"DQN: {env_steps} steps end before the optimizer's first, after {self.starts}.")
        return (env_steps - self.starts) // self.every

    def init(self, rng: torch.Generator) -> Params:
        """Torch's own for linear layers."""
        return self.critic.uniform(rng)

    def tags(self) -> Tags:
        """The role of every tensor."""
        return named(self.init(torch.Generator()))

    def source(self, rng: torch.Generator) -> Draw:
        """Batches of `observation, action, target, reward`, each `[B, ...]`; a new copy `Q'` is a renewal."""
        return Alone(self.sources([rng]))

    def sources(self, rngs: Sequence[torch.Generator]) -> Stream:
        """The same for a stack of agents, by weights `[S, ...]`: batches `[S, B, ...]`, each as it would be alone."""
        return Stream(self, rngs)

    def losses(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """Squared error of the value of the action taken, `[B]` (or `[S, B]`)."""
        return self.errors(w, batch).square()

    def values(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """Value of the action taken, `[B]`."""
        return self.critic(w, batch["observation"]).gather(-1, batch["action"].unsqueeze(-1)).squeeze(-1)

    def errors(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """Target less value, `[B]`."""
        return batch["target"] - self.values(w, batch)

    def distribution(self, w: Params, batch: dict[str, Tensor]) -> Distribution:
        """Of the action in each state, greedy but for the probability `last` of a random one."""
        q = self.critic(w, batch["observation"])
        greedy = torch.nn.functional.one_hot(q.argmax(-1), self.world.actions).to(q.dtype)
        return Categorical((1 - self.last) * greedy + self.last / self.world.actions, validate_args=False)

    def activations(self, w: Params, batch: dict[str, Tensor]) -> dict[tuple[str, str], Tensor]:
        """Outputs of all hidden layers, by the names of the layer and of the one that reads it."""
        return self.critic.activations(w, batch["observation"])

    def score(self, w: Params) -> dict[str, float]:
        """`evaluated`, the mean return of 16 episodes, greedy but for the probability `last` of a random action."""
        return {k: float(x) for k, x in self.scores({k: x.unsqueeze(0) for k, x in w.items()}).items()}

    @torch.no_grad()
    def scores(self, w: Params) -> dict[str, Tensor]:
        """The same for a stack of agents, `[S]`."""
        w = {k: x.cpu() for k, x in w.items()}
        like = w["critic.head.bias"]
        rngs = [stream(0, "episodes") for _ in range(len(like))]
        chance = stream(0, "actions")

        def act(x: np.ndarray, t: int) -> np.ndarray:
            drawn = torch.rand(EPISODES, generator=chance)
            action = torch.randint(self.world.actions, (EPISODES,), generator=chance)
            return torch.where(drawn < self.last, action, self.best(w, x)).numpy()

        return {"evaluated": returns(self.world, act, rngs, EPISODES).mean(1)}

    def best(self, w: Params, observation: np.ndarray) -> Tensor:
        """The action of the largest value, `[S, n]`."""
        return self.critic(w, torch.from_numpy(observation).to(w["critic.head.bias"].dtype)).argmax(-1)
