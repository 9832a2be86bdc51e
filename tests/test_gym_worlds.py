"""Gymnasium's environments as worlds: the same episodes, and a sentence for everything that cannot be one."""

import numpy as np
import pytest
import torch

from adamantine.control.copies import opened
from adamantine.control.gym import Gym
from adamantine.optim.adam import adam
from adamantine.point import stream
from adamantine.run import Diverged, Row, Run
from adamantine.tasks.dqn import DQN
from adamantine.tasks.ppo import PPO

gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed (pip install 'adamantine[rl]')")
spaces = gymnasium.spaces


class Fake(gymnasium.Env):
    """Ends after `end` steps (0: never); faults on demand."""

    def __init__(self, fault="", end=3, seen=None, acted=None):
        self.fault, self.end, self.t = fault, end, 0
        self.observation_space = seen or spaces.Box(-1, 1, (2, 2))
        self.action_space = acted or spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros((2, 2), np.float32), {}

    def step(self, action):
        self.t += 1
        bad = np.nan if self.t == 2 else 0.0
        seen = np.full((2, 2), bad if self.fault == "observation" else self.t, np.float32)
        return seen, (bad if self.fault == "reward" else 1.0), self.t == self.end, False, {}


@pytest.fixture(autouse=True)
def _registered():
    gymnasium.register("Fake-v0", Fake)
    yield
    gymnasium.registry.pop("Fake-v0")


def test_an_environment_goes_as_it_goes_by_hand():
    world = Gym("CartPole-v1")
    assert (world.observations, world.actions, world.size, world.limit) == (4, 2, 0, 500)
    rng = stream(3, "a")
    seeds = torch.randint(2**31 - 1, (2,), generator=stream(3, "a")).tolist()
    going = opened(world, [rng], 2)
    envs = [gymnasium.make("CartPole-v1") for _ in range(2)]
    seen = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]
    restarts = 0
    for step in range(80):
        assert np.array_equal(going.observation, np.stack(seen))
        action = np.array([step // 3 % 2, 1])
        moved = going.step(action)
        for i, env in enumerate(envs):
            seen[i], reward, ended, cut, _ = env.step(int(action[i]))
            assert np.array_equal(moved.final[i], seen[i])
            assert (moved.reward[i], moved.ended[i], moved.truncated[i]) == (reward, ended, cut)
            if ended or cut:
                restarts += 1
                seen[i] = env.reset()[0]
    assert restarts > 3


def test_continuous_actions_are_cut_off_at_their_bounds():
    going = opened(Gym("Pendulum-v1"), [stream(0, "a")], 1)
    other = opened(Gym("Pendulum-v1"), [stream(0, "a")], 1)
    assert Gym("Pendulum-v1").size == 1
    assert np.array_equal(going.step(np.array([[9.0]])).final, other.step(np.array([[2.0]])).final)


@pytest.mark.parametrize("name", ["InvertedPendulum-v4", "Hopper-v4", "HalfCheetah-v4", "Walker2d-v4"])
def test_robots_are_learnt_on(name):
    pytest.importorskip("mujoco", reason="mujoco is not installed (pip install 'adamantine[mujoco]')")
    task = PPO(Gym(name), 1, 32, 2, 2, entropy=0.0, normalize=True, held_out=1)
    events = list(Run(task, adam(3e-4), 8, every=1).events())
    assert not any(isinstance(e, Diverged) for e in events)
    assert sum(isinstance(e, Row) and e.name == "loss" for e in events) == 8


def test_an_environment_without_end_needs_a_limit():
    world = Gym("Fake-v0", (("end", 0),), cut=7)
    going = opened(world, [stream(0, "a")], 1)
    assert [bool(going.step(np.zeros(1, int)).truncated[0]) for _ in range(14)] == ([False] * 6 + [True]) * 2
    endless = opened(Gym("Fake-v0", (("end", 0),)), [stream(0, "a")], 1)
    endless.elapsed[:] = 99_999
    with pytest.raises(ValueError, match=r"not ended in 100000 steps.*cut=1000"):
        endless.step(np.zeros(1, int))


@pytest.mark.parametrize("fault", ["observation", "reward"])
def test_numbers_that_are_not_finite_get_a_sentence(fault):
    going = opened(Gym("Fake-v0", (("fault", fault),)), [stream(0, "a")], 1)
    going.step(np.zeros(1, int))
    with pytest.raises(ValueError, match=rf"{fault} is .* at step 2 of an episode, after the action 0"):
        going.step(np.zeros(1, int))


@pytest.mark.parametrize(
    ("world", "says"),
    [
        (Gym("CartPol-v1"), "no such environment; near are CartPole-v1"),
        (Gym("Fake-v0", (("wings", 2),)), "does not take the options"),
        (
            Gym("Fake-v0", (("acted", spaces.MultiDiscrete([2, 3])),)),
            r"actions are MultiDiscrete.*only Discrete and Box",
        ),
        (Gym("Fake-v0", (("acted", spaces.Discrete(3, start=1)),)), "only Discrete"),
        (Gym("Fake-v0", (("seen", spaces.Discrete(3)),)), "observations are Discrete.*only Box"),
    ],
)
def test_what_cannot_be_a_world_gets_a_sentence(world, says):
    with pytest.raises(ValueError, match=says):
        PPO(world)


def test_missing_packages_name_the_extra(monkeypatch):
    def lacking(*_, **__):
        raise gymnasium.error.DependencyNotInstalled("MuJoCo is not installed")

    monkeypatch.setattr(gymnasium, "make", lacking)
    with pytest.raises(ImportError, match=r"pip install 'adamantine\[mujoco\]'"):
        PPO(Gym("Hopper-v4"))
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r"pip install 'adamantine\[rl\]'"):
        PPO(Gym("CartPole-v1"))


def test_q_learning_refuses_continuous_actions():
    with pytest.raises(ValueError, match=r"actions .* are continuous"):
        DQN(Gym("Pendulum-v1"))
