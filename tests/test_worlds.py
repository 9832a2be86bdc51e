"""Worlds: the physics against Gymnasium's, and what episodes, time limits and seeds do to many copies."""

import dataclasses

import numpy as np
import pytest
import torch
from walk import names, public

from adamantine.control.acrobot import Acrobot
from adamantine.control.cart_pole import CartPole
from adamantine.control.copies import Copies
from adamantine.control.deep_sea import DeepSea
from adamantine.control.drifting import Drifting
from adamantine.control.mountain_car import MountainCar
from adamantine.control.pendulum import Pendulum
from adamantine.point import stream


def worlds():
    found = [kind() for kind in public("adamantine.control", is_world)]
    sparse = [dataclasses.replace(w, sparse=True) for w in found]
    return [*found, *sparse, Drifting(CartPole(), "length", 0.3, 0.9, 7), Drifting(Pendulum(), "mass", 0.5, 2.0, 50)]


def is_world(x):
    whole = all(hasattr(x, m) for m in ("start", "step", "observe"))
    return dataclasses.is_dataclass(x) and whole and "world" not in x.__dataclass_fields__


def set_cart_pole(env, state):
    env.state, env.steps_beyond_terminated = tuple(state[:4]), None


def set_plain(env, state):
    env.state = np.array(state)


def set_pair(env, state):
    env.state = (state[0], state[1])


# The world, its name there, the ranges of states, and how a state is put into Gymnasium's environment.
SAME = [
    (CartPole(), "CartPole-v1", [2.5, 3.0, 0.22, 3.0, 0.0], set_cart_pole),
    (Acrobot(), "Acrobot-v1", [3.1, 3.1, 12.0, 28.0], set_plain),
    (MountainCar(), "MountainCar-v0", [1.2, 0.07], set_pair),
    (Pendulum(), "Pendulum-v1", [9.0, 8.0], set_plain),
]


@pytest.mark.parametrize(("world", "name", "ranges", "put"), SAME, ids=[s[1] for s in SAME])
def test_a_world_moves_as_gymnasium_has_it(world, name, ranges, put):
    gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed (pip install 'adamantine[rl]')")
    env, rng, n = gymnasium.make(name).unwrapped, np.random.default_rng(0), 1000
    states = rng.uniform(-1, 1, (n, len(ranges))) * ranges
    if isinstance(world, MountainCar):
        states[:, 0] = np.minimum(states[:, 0], 0.6)
    discrete = rng.integers(0, max(world.actions, 1), n)
    actions = discrete if world.actions else rng.uniform(-3, 3, (n, world.size))
    new, reward, ended = world.step(states, actions, np.zeros(n, np.int64))
    ends = set()
    env.reset()
    for state, action, after, gain, end in zip(states, actions, new, reward, ended, strict=True):
        put(env, state)
        seen, theirs, over, _, _ = env.step(int(action) if world.actions else np.array(action))
        width = len(np.ravel(env.state))
        assert np.allclose(after[:width], np.ravel(env.state), rtol=1e-12, atol=1e-12)
        assert np.allclose(world.observe(after[None])[0], seen, rtol=1e-5, atol=1e-6)
        assert gain == pytest.approx(float(theirs), rel=1e-12)
        assert bool(end) == over
        ends.add(bool(end))
    assert ends == {False} if name.startswith("Pendulum") else ends == {False, True}


@pytest.mark.parametrize(("world", "name"), [s[:2] for s in SAME], ids=[s[1] for s in SAME])
def test_a_world_starts_where_gymnasium_starts_it(world, name):
    gymnasium = pytest.importorskip("gymnasium", reason="gymnasium is not installed (pip install 'adamantine[rl]')")
    env = gymnasium.make(name)
    assert env.spec.max_episode_steps == world.limit
    theirs = np.array([np.ravel((env.reset(seed=i), env.unwrapped.state)[1]) for i in range(2000)])
    own = world.start(np.random.default_rng(0).random((2000, world.uniforms)))[:, : theirs.shape[1]]
    spread = theirs.std(0)
    assert np.allclose(own.mean(0), theirs.mean(0), atol=0.1 * spread.max())
    assert np.allclose(own.std(0), spread, rtol=0.05)
    assert np.allclose(np.abs(own).max(0), np.abs(theirs).max(0), rtol=0.02)


@pytest.mark.parametrize("world", worlds(), ids=repr)
def test_a_world_keeps_its_promises(world):
    rng, n = np.random.default_rng(0), 64
    assert eval(repr(world), names()) == world
    state = world.start(rng.random((n, world.uniforms)))
    paid, clock = [], np.zeros(n, np.int64)
    for _ in range(60):
        action = rng.integers(0, world.actions, n) if world.actions else rng.normal(size=(n, world.size))
        before = state.copy(), action.copy(), clock.copy()
        new, reward, ended = world.step(state, action, clock)
        again = world.step(state, action, clock)
        for a, b in zip((state, action, clock), before, strict=True):
            assert np.array_equal(a, b), "a step changes what it is given"
        assert all(np.array_equal(a, b) for a, b in zip((new, reward, ended), again, strict=True))
        one = world.step(state[:1], action[:1], clock[:1])
        assert np.allclose(one[0][0], new[0], rtol=1e-12)
        assert new.shape == state.shape
        assert reward.shape == ended.shape == (n,)
        assert (new.dtype, reward.dtype, ended.dtype) == (np.float64, np.float64, np.bool_)
        seen = world.observe(new)
        assert seen.shape == (n, world.observations)
        assert seen.dtype == np.float32
        assert np.isfinite(seen).all()
        paid += reward.tolist()
        fresh = world.start(rng.random((n, world.uniforms)))
        state = np.where(ended[:, None], fresh, new)
        clock = clock + 1
    if getattr(world, "sparse", False):
        assert np.mean(np.array(paid) != 0) < 0.05


def test_sparse_worlds_pay_at_the_goal():
    clock = np.zeros(1, np.int64)
    up = np.array([[np.pi - 0.01, 0.0, 0.0, 0.0]])
    assert Acrobot(sparse=True).step(up, np.ones(1), clock)[1] == 1.0
    assert MountainCar(sparse=True).step(np.array([[0.49, 0.05]]), np.full(1, 2), clock)[1] == 1.0
    assert Pendulum(sparse=True).step(np.array([[0.1, 0.5]]), np.zeros((1, 1)), clock)[1] == 1.0


def test_deep_sea_has_one_best_way():
    world, clock = DeepSea(6, seed=3), np.zeros(2**6, np.int64)
    ways = (np.arange(2**6)[:, None] >> np.arange(6)) & 1
    state, total = world.start(np.zeros((2**6, 0))), np.zeros(2**6)
    for t in range(6):
        state, reward, ended = world.step(state, ways[:, t], clock)
        total += reward
        assert ended.all() == (t == 5)
    assert total.max() == pytest.approx(0.99)
    assert (total > 0).sum() == 1
    assert sorted(total)[-2] <= 0
    assert not world.observe(state).any()


def test_physics_drift_by_the_clock_alone():
    world = Drifting(CartPole(), "length", 0.3, 0.9, 5, seed=2)
    lengths = [world.at(k).length for k in range(4)]
    assert len(set(lengths)) == 4
    assert all(0.3 <= x <= 0.9 for x in lengths)
    state, action = np.full((6, 5), 0.01), np.ones(6, np.int64)
    clock = np.array([0, 4, 5, 9, 14, 15])
    moved = world.step(state, action, clock)[0]
    for row, k in zip(moved, (0, 0, 1, 1, 2, 3), strict=True):
        assert np.array_equal(row, CartPole(length=lengths[k]).step(state[:1], action[:1], clock[:1])[0][0])
    assert [world.changes(int(c)) for c in clock] == [0, 0, 1, 1, 2, 3]


def test_what_cannot_drift_gets_a_sentence():
    with pytest.raises(ValueError, match=r"no number 'lenght'; it has length"):
        Drifting(CartPole(), "lenght", 0.1, 1.0, 5)
    with pytest.raises(ValueError, match="period is at least 1"):
        Drifting(CartPole(), "length", 0.1, 1.0, 0)


def test_episodes_end_at_the_limit_and_start_again():
    copies = Copies(CartPole(limit=5), [stream(0, "a")], 3)
    for step in range(5):
        moved = copies.step(np.full(3, step % 2))
        assert moved.truncated.all() == (step == 4)
        assert not moved.ended.any()
    assert (copies.elapsed == 0).all()
    assert (np.abs(copies.observation) <= 0.05).all()
    assert not np.allclose(moved.final, copies.observation)


def test_a_sparse_cart_pole_pays_for_surviving_alone():
    copies = Copies(CartPole(limit=5, sparse=True), [stream(0, "a")], 3)
    paid = [copies.step(np.full(3, step % 2)).reward.tolist() for step in range(5)]
    assert paid == [[0.0] * 3] * 4 + [[1.0] * 3]


def test_what_an_agent_meets_does_not_depend_on_who_else_is_there():
    together = Copies(CartPole(), [stream(seed, "a") for seed in range(3)], 2)
    alone = Copies(CartPole(), [stream(1, "a")], 2)
    for _ in range(60):
        both, own = together.step(np.ones(6, np.int64)), alone.step(np.ones(2, np.int64))
        assert np.array_equal(both.final[2:4], own.final)
        assert np.array_equal(together.observation[2:4], alone.observation)


def test_copies_go_on_from_where_they_stood():
    rng = stream(0, "a")
    one = Copies(CartPole(), [rng], 2)
    for _ in range(7):
        one.step(np.ones(2, np.int64))
    held, state = one.state_dict(), rng.get_state()
    before = [one.step(np.ones(2, np.int64)).final for _ in range(20)]
    other = Copies(CartPole(), [torch.Generator()], 2)
    other.load_state_dict(held)
    other.rngs[0].set_state(state)
    assert np.array_equal(before, [other.step(np.ones(2, np.int64)).final for _ in range(20)])
