"""Any environment of Gymnasium as a world, by its name."""

import contextlib
import difflib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from adamantine.control.world import Array, Moved

NEVER = 100_000  # steps without an end after which an environment without a time limit is said never to end


@dataclass(frozen=True)
class Gym:
    """The environment registered as `name`, with keyword arguments `options` as pairs, such as `(("sutton", True),)`.

    Observations are flattened to numbers; actions are one of a few, or a vector, cut off at its bounds. `cut` ends
    episodes of environments that have no time limit. Raises ImportError where a package is missing, ValueError for an
    unknown name, a space of another kind, an observation or reward that is not finite and an episode without end.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()
    cut: int = 0

    @cached_property
    def spaces(self) -> tuple[Any, Any, int]:
        """Spaces of observations and actions, and the time limit, 0 where there is none."""
        env = self.make()
        try:
            limit = getattr(env.spec, "max_episode_steps", None) or 0
            return env.observation_space, env.action_space, limit
        finally:
            env.close()

    @property
    def observations(self) -> int:
        """Length of a flattened observation."""
        return int(np.prod(self._checked("observations", self.spaces[0], ("Box",)).shape))

    @property
    def actions(self) -> int:
        """How many actions; 0 where they are continuous."""
        space = self._checked("actions", self.spaces[1], ("Discrete", "Box"))
        return int(space.n) if type(space).__name__ == "Discrete" else 0

    @property
    def size(self) -> int:
        """Dimensions of a continuous action; 0 where they are discrete."""
        return 0 if self.actions else int(np.prod(self.spaces[1].shape))

    @property
    def limit(self) -> int:
        """Steps after which an episode is cut off."""
        return self.cut or self.spaces[2] or NEVER

    def make(self) -> Any:
        """One such environment."""
        try:
            import gymnasium
        except ImportError as error:
            raise ImportError(
                f"Gym({self.name!r}): Gymnasium is not installed; give the command: pip install 'adamantine[rl]'."
            ) from error
        try:
            with quiet():
                return gymnasium.make(self.name, disable_env_checker=True, **dict(self.options))
        except gymnasium.error.DependencyNotInstalled as error:
            raise ImportError(
                f"Gym({self.name!r}): it needs a package that is not installed ({error}); for MuJoCo's robots give the "
                "command: pip install 'adamantine[mujoco]'."
            ) from error
        except gymnasium.error.UnregisteredEnv as error:
            near = difflib.get_close_matches(self.name, list(gymnasium.registry), 3, 0.4) or ["CartPole-v1"]
            raise ValueError(
                f"Gym({self.name!r}): there is no such environment; near are {', '.join(near)}."
            ) from error
        except TypeError as error:
            raise ValueError(f"Gym({self.name!r}): it does not take the options {self.options} ({error}).") from error

    def open(self, rngs: Sequence[torch.Generator], copies: int) -> "Opened":
        """`copies` for each agent, in the order of the agents, seeded from its generator."""
        return Opened(self, rngs, copies)

    def _checked(self, what: str, space: Any, kinds: tuple[str, ...]) -> Any:
        kind = type(space).__name__
        if kind not in kinds or (kind == "Discrete" and int(getattr(space, "start", 0)) != 0):
            raise ValueError(
                f"Gym({self.name!r}): its {what} are {space}; only {' and '.join(kinds)} spaces are supported "
                "(discrete ones from 0): wrap and register it as an environment of such."
            )
        return space


class Opened:
    """Environments that are under way; an episode that is over starts again in the same step."""

    resumable = False

    def __init__(self, world: Gym, rngs: Sequence[torch.Generator], copies: int) -> None:
        self.world = world
        self.envs = [world.make() for _ in range(len(rngs) * copies)]
        self.elapsed = np.zeros(len(self.envs), np.int64)
        seeds = [int(torch.randint(2**31 - 1, (), generator=g)) for g in rngs for _ in range(copies)]
        with quiet():
            first = [env.reset(seed=seed)[0] for env, seed in zip(self.envs, seeds, strict=True)]
        self.observation = np.stack([self._seen(x, "at the start") for x in first])

    def step(self, action: Array) -> Moved:
        """Act in every one."""
        n = len(self.envs)
        reward, ended, truncated = np.empty(n), np.zeros(n, bool), np.zeros(n, bool)
        final, after = np.empty_like(self.observation), np.empty_like(self.observation)
        self.elapsed += 1
        for i, env in enumerate(self.envs):
            chosen = self._action(env, action[i])
            seen, gain, ended[i], cut, _ = env.step(chosen)
            when = f"at step {self.elapsed[i]} of an episode, after the action {chosen}"
            final[i] = after[i] = self._seen(seen, when)
            if not np.isfinite(gain):
                raise ValueError(f"Gym({self.world.name!r}): the reward is {gain} {when}; mend the environment.")
            reward[i] = gain
            truncated[i] = (cut or 0 < self.world.cut <= self.elapsed[i]) and not ended[i]
            if ended[i] or truncated[i]:
                after[i], self.elapsed[i] = self._seen(env.reset()[0], "at a restart"), 0
            elif self.elapsed[i] >= NEVER and not self.world.cut:
                raise ValueError(
                    f"Gym({self.world.name!r}): an episode has not ended in {NEVER} steps and has no time limit; give "
                    f"one, as in Gym({self.world.name!r}, cut=1000)."
                )
        self.observation = after
        return Moved(reward, ended, truncated, final)

    def _action(self, env: Any, chosen: Any) -> Any:
        space = env.action_space
        if self.world.actions:
            return int(chosen)
        return np.clip(chosen.reshape(space.shape), space.low, space.high).astype(space.dtype)

    def _seen(self, x: Any, when: str) -> Array:
        flat = np.asarray(x, np.float32).reshape(-1)
        if not np.isfinite(flat).all():
            raise ValueError(f"Gym({self.world.name!r}): the observation is not finite {when}; mend the environment.")
        return flat

    def close(self) -> None:
        """Let go of all of them."""
        for env in self.envs:
            env.close()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Gymnasium's advice to use newer versions of an environment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
