"""Every probe works on the points of control tasks, where batches depend on the weights."""

import dataclasses
import math

import pytest
import torch
from test_contract_probes import kinds

from adamantine import tree
from adamantine.optim.adam import adam
from adamantine.point import Point, stream
from adamantine.tasks.dqn import DQN
from adamantine.tasks.ppo import PPO

TASKS = (PPO(envs=2, horizon=16, width=5, held_out=2), DQN(starts=40, memory=64, batch=16, widths=(6,)))
WITHOUT = {"FrequencyLoss"}  # of classes, which control has none of
PROBES = [*kinds("adamantine.probes"), *kinds("adamantine.assume")]


def point(task):
    """At the last of three steps of Adam, where paths are told."""
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    draw, part = task.source(stream(0, "data")), adam(1e-2)
    s = part.init(w)
    for step in range(3):
        batch = tree.place(draw(w), "cpu", torch.float64)
        p = Point(task, w, batch, step, 3, renewals=draw.renewals)
        u, s = part.update(p.grad, s, p)
        p = p.after(u, s, part)
        w = tree.add(w, u, -1.0)
    return p


@pytest.mark.parametrize("kind", PROBES, ids=lambda k: k.__name__)
@pytest.mark.parametrize("task", TASKS, ids=lambda t: type(t).__name__)
def test_a_probe_measures_there(task, kind):
    p = point(task)
    found = kind()(p)
    found = found if isinstance(found, dict) else {kind.__name__: found}
    assert found
    assert any(math.isfinite(x) for x in found.values()) == (kind.__name__ not in WITHOUT), (
        "what asks for classes has none"
    )


def test_actor_and_critic_are_measured_apart():
    p = point(TASKS[0])
    actor, critic = p.only(["actor.*"]), p.only(["critic.*"])
    whole = float(tree.norm(p.grad)) ** 2
    assert float(tree.norm(actor.grad)) ** 2 + float(tree.norm(critic.grad)) ** 2 == pytest.approx(whole)
    assert {k.split(".")[0] for k in actor.w} == {"actor"}
    assert dataclasses.replace(p, memo={}).loss == pytest.approx(p.loss)
