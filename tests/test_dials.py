"""Dials: what is drawn has the gradient, noise and drift that the task says it has."""

import math
from dataclasses import replace

import pytest
import torch

from adamantine import tree
from adamantine.point import Point, stream
from adamantine.tasks.dials import Dials
from adamantine.tasks.ppo import PPO
from adamantine.tasks.twin import Twin

F64 = torch.float64
TURNED = (
    Dials(6, noise=0.5),
    Dials(6, density=0.3),
    Dials(6, delay=4),
    Dials(6, drift=0.7, bootstrap=0.4),
    Dials(6, feedback=0.8, delay=2),
    Dials(6, drift=0.3, kind="line"),
)


def drawn(task, n, w, seed=0):
    """Many examples of the objective that begins at `w`, with the stream."""
    draw = replace(task, held_out=0, batch=n).source(stream(seed, "data"))
    return tree.place(draw({"w": w}), "cpu", F64), draw


@pytest.mark.parametrize("task", TURNED, ids=repr)
def test_gradient_and_variance_are_the_ones_told(task):
    w = torch.randn(6, generator=stream(0, "w"), dtype=F64)
    batch, draw = drawn(task, 60_000, w)
    here = w + 0.3
    each = Point(task, {"w": here}, batch).each_grad()["w"]
    told = task.gradient(here, draw.renewals, w)
    assert torch.allclose(each.mean(0), told, atol=5 * float(each.std(0).max()) / math.sqrt(len(each)))
    if not task.feedback:
        assert float(each.var(0).sum()) == pytest.approx(task.variance(here, draw.renewals, w), rel=0.05)


def test_theta_walks_by_its_drift():
    walk, line = Dials(6, drift=0.7), Dials(6, drift=0.7, kind="line")
    for task in (walk, line):
        steps = [task.theta(k + 1) - task.theta(k) for k in range(1, 6)]
        assert all(float(x.norm()) == pytest.approx(0.7) for x in steps)
        assert float(task.theta(1).norm()) == pytest.approx(1.0)
    assert torch.allclose(line.theta(5) - line.theta(4), line.theta(2) - line.theta(1))
    assert not torch.allclose(walk.theta(5) - walk.theta(4), walk.theta(2) - walk.theta(1))


def test_rewards_come_late_and_seldom():
    batch, _ = drawn(Dials(6, delay=4, density=0.5), 4000, torch.zeros(6))
    paid = batch["reward"] != 0
    assert not paid[:, :-1].any()
    assert float(paid.double().mean()) == pytest.approx(0.125, abs=0.02)


@pytest.mark.parametrize("named", [{"held_out": 3}, {"noise": -1.0}, {"density": 0.0}, {"kind": "jump"}, {"dim": 0}])
def test_dials_refuse_what_makes_no_sense(named):
    with pytest.raises(ValueError, match="Dials"):
        Dials(**named)


def test_a_twin_has_the_networks_and_the_steps_and_stays():
    task = PPO(envs=2, horizon=16, held_out=2)
    twin, w = Twin(task), task.init(stream(0, "init"))
    draw = twin.source(stream(0, "data"))
    renewals, held = [], []
    for _ in range(48):
        batch = draw(w)
        renewals.append(draw.renewals)
        held.append(draw.held_out)
    assert renewals == [1] * 16 + [2] * 16 + [3] * 16
    assert twin.period == 16
    assert len(batch["action"]) == 8
    assert torch.equal(held[0]["observation"], held[15]["observation"])
    assert not torch.equal(held[0]["observation"], held[16]["observation"])
    teacher = twin.teacher()
    assert twin.score(teacher)["held_out"] < twin.score(w)["held_out"]


def test_a_twin_needs_an_actor():
    with pytest.raises(TypeError, match="give a PPO"):
        Twin(Dials())
