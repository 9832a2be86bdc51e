"""Worlds: the physics against Gymnasium's, and what episodes, time limits and seeds do to many copies."""

import numpy as np
import pytest
import torch

from adamantine.control.cart_pole import CartPole
from adamantine.control.copies import Copies
from adamantine.point import stream


def test_cart_pole_moves_as_gymnasium_has_it():
    gymnasium = pytest.importorskip("gymnasium", reason="the oracle is not installed")
    env, world, rng = gymnasium.make("CartPole-v1").unwrapped, CartPole(), np.random.default_rng(0)
    states = rng.uniform(-1, 1, (500, 5)) * [2.5, 3.0, 0.22, 3.0, 0.0]
    actions = rng.integers(0, 2, 500)
    new, reward, ended = world.step(states, actions, np.zeros(500, np.int64))
    for state, action, after, gain, end in zip(states, actions, new, reward, ended, strict=True):
        env.reset()
        env.state, env.steps_beyond_terminated = tuple(state[:4]), None
        seen, theirs, over, _, _ = env.step(int(action))
        assert np.allclose(after[:4], env.state, rtol=1e-12, atol=1e-14)
        assert np.allclose(world.observe(after[None])[0], seen, rtol=1e-6)
        assert (gain, end) == (theirs, over)


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
