"""Exploration in nats: what acts diverges from what is trained by as much as was asked, and only where it may."""

import pytest
import torch

from adamantine import tree
from adamantine.control.cart_pole import CartPole
from adamantine.control.mountain_car import MountainCar
from adamantine.control.pendulum import Pendulum
from adamantine.point import stream
from adamantine.tasks import exploration
from adamantine.tasks.policy import Discrete, Gaussian
from adamantine.tasks.ppo import PPO

F64 = torch.float64


def agents(world, n=3, **named):
    task = PPO(world, 2, 32, **named)
    ws = [tree.place(task.init(stream(i, "init")), "cpu", F64) for i in range(n)]
    for i, w in enumerate(ws):
        for k, x in w.items():
            x += 0.1 * torch.randn(x.shape, generator=stream(i, k), dtype=F64)
        w["actor.head.weight"] *= 10  # far from uniform
    return task, {k: torch.stack([w[k] for w in ws]) for k in ws[0]}


@pytest.mark.parametrize("world", [CartPole(), Pendulum()], ids=repr)
@pytest.mark.parametrize("nats", [1e-3, 0.1])
def test_noise_costs_what_was_asked(world, nats):
    task, w = agents(world)
    x = torch.randn(3, 200, world.observations, generator=stream(0, "x"), dtype=F64)
    wanted, rngs = torch.tensor([nats, 2 * nats, 0.0], dtype=F64), [stream(i, "noise") for i in range(3)]
    actor = {k: v for k, v in w.items() if k.startswith("actor")}
    here = task.acting(actor, x)
    moved = exploration.stirred(task.acting, task.policy, actor, x, rngs, wanted)
    found = exploration.divergence(task.policy, here, task.acting(moved, x))
    assert torch.allclose(found[:2], wanted[:2], rtol=1e-2)
    assert found[2] < 1e-6
    size = exploration.widened(task.policy, here, wanted)
    found = exploration.divergence(task.policy, here, exploration.mixed(task.policy, here, size))
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("policy", [Discrete(3), Gaussian(3)], ids=repr)
def test_divergence_is_torchs(policy):
    old, new = ([torch.randn(2, *n, 3, generator=stream(i, str(n))) for n in ((5,), ())] for i in range(2))
    if isinstance(policy, Discrete):
        old, new = (old[0], None), (new[0], None)
    found = exploration.divergence(policy, old, new)
    truth = torch.distributions.kl_divergence(policy.distribution(*old), policy.distribution(*new)).mean(-1)
    assert torch.allclose(found, truth, atol=1e-5)


@pytest.mark.parametrize("named", [{"behaviour_nats": 0.05}, {"action_nats": 0.05}])
def test_what_is_spent_is_told_and_ratios_are_of_what_acted(named):
    task, w = agents(CartPole(), **named)
    draw = task.sources([stream(i, "data") for i in range(3)])
    for _ in range(27 * task.period):
        batch = draw(w)
    # Each is sized by the states of the rollout before, and what it overspends is paid back by the next ones.
    assert all(0.8 < x / (27 * 0.05) < 1.3 for x in draw.told()["spent"])
    logs = task.policy.log_prob(*task.acting(w, batch["observation"].double()), batch["action"])
    assert not torch.allclose(logs, batch["log_prob"], atol=1e-3)
    alone = task.source(stream(1, "data"))
    for _ in range(27 * task.period):
        own = alone({k: x[1] for k, x in w.items()})
    assert torch.allclose(own["log_prob"], batch["log_prob"][1], rtol=1e-9)


def test_a_gate_opens_in_silence_alone():
    task, w = agents(MountainCar(sparse=True), action_nats=0.05, gate="silent")
    draw = task.sources([stream(i, "data") for i in range(3)])
    for _ in range(6 * task.period):
        draw(w)
    before = draw.told()["spent"].copy()
    assert (before > 0).all()
    draw.due[:] = draw.spent
    draw.training.silent[:] = [True, False, True]
    for _ in range(task.period):
        draw(w)
    more = draw.told()["spent"] - before
    assert more[1] == pytest.approx(0, abs=1e-9)
    assert more[0] > 0.01
    assert more[2] > 0.01


def test_bad_nats_get_a_sentence():
    with pytest.raises(ValueError, match="nats are not negative"):
        PPO(action_nats=-1.0)
