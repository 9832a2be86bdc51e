"""Deep Q-learning: targets in closed form, what is remembered, when the copy is renewed, stacks, bad input."""

import dataclasses

import numpy as np
import pytest
import torch
from test_ppo import Clock

from adamantine import tree
from adamantine.control.cart_pole import CartPole
from adamantine.optim.adam import adam
from adamantine.point import Point, stream
from adamantine.run import Row, Run
from adamantine.tasks.dqn import DQN
from adamantine.tasks.dqn_stream import Replay

SMALL = DQN(Clock(limit=4), memory=64, batch=16, starts=40, every=4, sync=8, widths=(8,), exploration=200)


def weights(task, seed=0):
    return tree.place(task.init(stream(seed, "init")), "cpu", torch.float64)


def test_targets_are_reward_and_discounted_best_value_of_the_copy():
    w, draw = weights(SMALL), SMALL.source(stream(0, "data"))
    batch = draw(w)
    later = {k: 2 * x for k, x in w.items()}
    for x, target in zip(batch["observation"], batch["target"], strict=True):
        after = SMALL.critic(w, (x + 1).double()[None]).max()
        assert float(target) == pytest.approx(1 + 0.99 * float(after), rel=1e-6)
    kept = draw(later)  # the copy is still the old one
    after = SMALL.critic(w, (kept["observation"] + 1).double()).max(1).values
    assert torch.allclose(kept["target"], 1 + 0.99 * after, rtol=1e-6)


def test_what_has_ended_has_no_value_after_it_and_what_is_cut_off_has():
    ends, cut = (dataclasses.replace(SMALL, world=w) for w in (Clock(limit=100, end=3), Clock(limit=3)))
    for task, has in ((ends, False), (cut, True)):
        w = weights(task)
        batch = task.source(stream(0, "data"))(w)
        last = batch["observation"][:, 0] == 2
        assert last.any()
        after = task.critic(w, torch.full((1, 1), 3.0, dtype=torch.float64)).max()
        truth = 1 + 0.99 * float(after) * has
        assert batch["target"][last].tolist() == pytest.approx([truth] * int(last.sum()), rel=1e-6)


def test_the_copy_is_renewed_every_so_many_steps_of_the_world():
    w, draw = weights(SMALL), SMALL.source(stream(0, "data"))
    renewals = []
    for _ in range(9):
        draw(w)
        renewals.append(draw.renewals)
    assert draw.told()["env_steps"] == 40 + 8 * 4
    assert renewals == [1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert SMALL.period == 2
    assert SMALL.steps(80) == 10


def test_the_memory_forgets_the_oldest():
    task = dataclasses.replace(SMALL, world=CartPole(), memory=10)
    replay = Replay(task, [stream(0, "data")], 1)
    w = {k: x[None] for k, x in weights(task).items()}
    replay.act(w, 7, 0)
    first = replay.before[0].copy()
    replay.act(w, 7, 7)
    assert replay.taken == 14
    assert np.array_equal(replay.before[0, 4:7], first[4:7])
    assert not np.array_equal(replay.before[0, :4], first[:4])


def test_chance_falls_as_told():
    assert [SMALL.epsilon(t) for t in (0, 100, 200, 1000)] == pytest.approx([1.0, 0.525, 0.05, 0.05])
    task = dataclasses.replace(SMALL, first=0.0, last=0.0)
    w = weights(task)
    draw = task.source(stream(0, "data"))
    batch = draw(w)
    best = task.critic(w, batch["observation"].double()).argmax(1)
    assert torch.equal(batch["action"], best)


def test_the_policy_is_greedy_but_for_chance():
    w = weights(SMALL)
    batch = tree.place(SMALL.source(stream(0, "data"))(w), "cpu", torch.float64)
    probs = SMALL.distribution(w, batch).probs
    assert probs.max(1).values.tolist() == pytest.approx([0.975] * 16)
    assert torch.equal(probs.argmax(1), SMALL.critic(w, batch["observation"]).argmax(1))


def test_a_stack_of_streams_is_single_streams():
    task = dataclasses.replace(SMALL, world=CartPole(), envs=2, held_out=1)
    ws = [weights(task, seed) for seed in range(3)]
    together = task.sources([stream(seed, "data") for seed in range(3)])
    single = [task.source(stream(seed, "data")) for seed in range(3)]
    for step in range(12):
        ws = [{k: x * (1 + 0.1 * (step % 3)) for k, x in w.items()} for w in ws]
        batch = together({k: torch.stack([w[k] for w in ws]) for k in ws[0]})
        for i, draw in enumerate(single):
            alone = draw(ws[i])
            assert all(torch.allclose(x, batch[k][i], rtol=1e-9) for k, x in alone.items())
            assert all(torch.allclose(x, together.held_out[k][i], rtol=1e-9) for k, x in draw.held_out.items())
            assert draw.renewals == together.renewals


def test_what_is_held_out_changes_nothing():
    rows = []
    for held in (0, 2):
        task = dataclasses.replace(SMALL, world=CartPole(), held_out=held)
        rows.append([e for e in Run(task, adam(1e-3), steps=30, every=3).events() if isinstance(e, Row)])
    assert rows[0] == rows[1]


def test_a_point_answers_on_it():
    w = weights(SMALL)
    p = Point(SMALL, w, tree.place(SMALL.source(stream(0, "data"))(w), "cpu", torch.float64))
    each = p.each_grad()
    assert torch.allclose(each["critic.head.bias"].mean(0), p.grad["critic.head.bias"])
    assert float(SMALL.errors(w, p.batch).square().mean()) == pytest.approx(float(p.loss))


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"memory": 0}, "at least 1"),
        ({"envs": 3}, "multiples of envs = 3"),
        ({"sync": 9}, "sync = 9 of every"),
        ({"gamma": 2.0}, "gamma lies in"),
        ({"first": 0.01}, "are probabilities"),
    ],
)
def test_bad_numbers_get_a_sentence(named, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(SMALL, **named)


def test_too_few_steps_get_a_sentence():
    with pytest.raises(ValueError, match="end before the optimizer's first"):
        DQN().steps(100)
