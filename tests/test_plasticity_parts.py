"""Parts that keep networks plastic, and noise in updates: what they do when they act, on networks with hidden units."""

import pytest
import torch

from adamantine import tree
from adamantine.nets.tower import Tower
from adamantine.optim.adam import adam
from adamantine.optim.continual_backprop import Continual
from adamantine.optim.lr import Lr
from adamantine.optim.predictions import distributions, divergence
from adamantine.optim.recycled import Recycled
from adamantine.optim.sgd import sgd
from adamantine.optim.shrink_perturb import ShrinkPerturb
from adamantine.optim.toward_start import TowardStart
from adamantine.optim.units import forgotten
from adamantine.optim.update_noise import UpdateNoise
from adamantine.optim.utility import Utility, upgd
from adamantine.part import Chain
from adamantine.point import Point, stream
from adamantine.run import Row, Run
from adamantine.tasks.dials import Dials
from adamantine.tasks.ppo import PPO
from adamantine.tasks.quadratic import Quadratic
from adamantine.tasks.relabelled import Relabelled

F64 = torch.float64
TASK = Relabelled(widths=(6, 5))


def point(step=0, w=None, task=TASK, seed=0):
    w = tree.place(task.init(stream(seed, "init")), "cpu", F64) if w is None else w
    batch = tree.place(task.source(stream(seed, "data"))(w), "cpu", F64)
    return Point(task, w, batch, step, 100, seed)


def with_dead_units():
    """Weights whose units 1 and 3 of the first layer never fire."""
    w = point().w
    for unit in (1, 3):
        w["net.layer0.weight"][unit] = 0.0
        w["net.layer0.bias"][unit] = -1.0
    return w


def test_dormant_units_are_made_fresh_and_forgotten():
    w = with_dead_units()
    part = Recycled(adam(1e-2), period=10, tau=0.0)
    s = part.init(w)
    p = point(3, w)
    u, s = part.update(p.grad, s, p)
    assert torch.equal(u["net.layer0.weight"], adam(1e-2).update(p.grad, adam(1e-2).init(w), p)[0]["net.layer0.weight"])
    s = tuple({k: x + 1.0 for k, x in y.items()} if isinstance(y, dict) else y for y in s)
    p = point(10, w)
    s = part.init(w)
    _, s = part.inner.update(p.grad, s, p)
    u, s = part.update(p.grad, s, p)
    new = tree.add(w, u, -1.0)
    fresh = TASK.init(p.rng("recycled units"))
    dead = torch.zeros(6, dtype=torch.bool)
    dead[[1, 3]] = True
    layer = TASK.activations(w, p.batch)["net.layer0", "net.layer1"]
    assert torch.equal((layer == 0).all(0), dead)
    assert torch.allclose(new["net.layer0.weight"][dead], fresh["net.layer0.weight"].double()[dead])
    assert not new["net.layer1.weight"][:, dead].any()
    assert new["net.layer1.weight"][:, ~dead].all()
    m = s[0][1] if isinstance(s[0], tuple) else s[0]
    assert not m["net.layer0.weight"][dead].any()
    assert m["net.layer0.weight"][~dead].any()
    # nothing that the network says has changed but by the step
    plain = tree.add(w, part.inner.update(p.grad, part.inner.update(p.grad, part.inner.init(w), p)[1], p)[0], -1.0)
    with torch.no_grad():
        here, there = (TASK.net(x, p.batch["x"]) for x in (new, plain))
    assert torch.allclose(here, there, atol=0.05)


def test_a_trickle_of_units_is_as_wide_as_asked():
    task = Relabelled(widths=(20, 20))
    part = Continual(sgd(0.01), rate=0.02, maturity=5)
    w = tree.place(task.init(stream(0, "init")), "cpu", F64)
    s, changed = part.init(w), 0
    for step in range(60):
        p = point(step, w, task)
        u, s = part.update(p.grad, s, p)
        w = tree.add(w, u, -1.0)
        changed += sum(int((age == 0).sum()) for _, age, _ in s[1].values())
    # twenty mature units, less those that are young again, times 0.02 a layer and step
    assert 30 <= changed <= 45


def test_the_least_useful_go_first():
    part = Continual(sgd(0.0), rate=0.5, maturity=1)
    mask, due = part._least(torch.tensor([3.0, 0.1, 2.0, 0.2]), torch.tensor([9.0, 9.0, 9.0, 1.0]), 0.0)
    assert mask.tolist() == [False, True, False, False]
    assert due == pytest.approx(0.5)


@pytest.mark.parametrize("part", [Recycled(sgd(0.1), 1), Continual(sgd(0.1))], ids=repr)
def test_hidden_units_must_be_told(part):
    p = Point(Quadratic(), {"w": torch.ones(10)}, None, 1, 10)
    with pytest.raises(ValueError, match="does not tell its hidden units; give it a method activations"):
        part.update({"w": torch.ones(10)}, part.init(p.w), p.given({"w": torch.ones(10)}))


def test_shrinking_happens_when_it_is_due():
    p = point(8)
    part = Lr(0.0) >> ShrinkPerturb(0.6, 0.3, period=4)
    u, s = part.update(p.grad, part.init(p.w), p)
    fresh = tree.place(TASK.init(p.rng("fresh weights")), "cpu", F64)
    for k, x in tree.add(p.w, u, -1.0).items():
        assert torch.allclose(x, 0.6 * p.w[k] + 0.3 * fresh[k])
    other = point(9)
    assert not any(x.any() for x in part.update(other.grad, s, other)[0].values())
    renewed = Chain((Lr(0.0), ShrinkPerturb(0.6, 0.3)))
    s = renewed.renew(renewed.init(p.w), p)
    u, s = renewed.update(p.grad, s, p)
    assert any(x.any() for x in u.values())
    assert not any(x.any() for x in renewed.update(p.grad, s, p)[0].values())


def test_decay_to_the_start_stays_there():
    p = point()
    part = TowardStart(0.5)
    s = part.init(p.w)
    moved = p.at({k: x + 2.0 for k, x in p.w.items()})
    u, _ = part.update({k: torch.zeros_like(x) for k, x in p.w.items()}, s, moved)
    assert all(torch.allclose(x, torch.ones_like(x)) for x in u.values())


def test_what_is_useful_moves_less():
    w = {"w": torch.tensor([1.0, 1.0, -1.0], dtype=F64)}
    g = {"w": torch.tensor([-2.0, 2.0, 0.5], dtype=F64)}
    part = Utility(0.9, sigma=0.0)
    p = Point(Quadratic(), w, None).given(g)
    u, _ = part.update(g, part.init(w), p)
    useful = torch.sigmoid(torch.tensor([1.0, -1.0, 0.25], dtype=F64))
    assert torch.allclose(u["w"], (1 - useful) * g["w"])
    none = {"w": -w["w"] * g["w"].sign() * w["w"].sign()}
    p = Point(Quadratic(), none, None).given({"w": g["w"] * 0})
    assert torch.allclose(part.update(g, part.init(w), p)[0]["w"], g["w"] / 2)


def test_noise_in_updates_costs_what_was_asked():
    task = PPO(envs=2, horizon=32)
    w = tree.place(task.init(stream(0, "init")), "cpu", F64)
    part = UpdateNoise(1e-3, names="actor.*", trials=10)
    p = Point(task, w, tree.place(task.source(stream(0, "data"))(w), "cpu", F64))
    zero = {k: torch.zeros_like(x) for k, x in w.items()}
    u, (_, spent) = part.update(zero, part.init(w), p)
    cost = divergence(distributions(p, w), distributions(p, tree.add(w, u, -1.0)))
    assert float(cost) == pytest.approx(1e-3, rel=0.05)
    assert float(spent) == pytest.approx(float(cost), rel=1e-9)
    assert not any(u[k].any() for k in w if k.startswith("critic"))


def test_a_gate_shuts_noise_out_of_updates_where_rewards_differ():
    task = PPO(envs=2, horizon=32)
    w = tree.place(task.init(stream(0, "init")), "cpu", F64)
    batch = tree.place(task.source(stream(0, "data"))(w), "cpu", F64)
    part = UpdateNoise(1e-3, "silent")
    zero = {k: torch.zeros_like(x) for k, x in w.items()}
    assert any(x.any() for x in part.update(zero, part.init(w), Point(task, w, batch))[0].values())
    batch["reward"][0] = 7.0
    assert not any(x.any() for x in part.update(zero, part.init(w), Point(task, w, batch))[0].values())
    with pytest.raises(ValueError, match="have no rewards"):
        part.update(*(lambda p: (p.grad, part.init(p.w), p))(point()))


def test_states_forget_by_name_and_shape():
    changed = {"w": torch.tensor([1.0, 0.0])}
    s = (3, {"w": torch.ones(2), "other": torch.ones(2)}, {"w": torch.ones(3)})
    found = forgotten(s, changed)
    assert found[0] == 3
    assert found[1]["w"].tolist() == [0.0, 1.0]
    assert found[1]["other"].tolist() == [1.0, 1.0]
    assert found[2]["w"].tolist() == [1.0, 1.0, 1.0]


def test_labels_change_by_the_clock_and_accuracy_is_counted_before_training():
    task = Relabelled(period=30)
    draw, w = task.source(stream(0, "data")), task.init(stream(0, "init"))
    assert sorted(task.labels(0).tolist()) == list(range(10))
    assert not torch.equal(task.labels(0), task.labels(1))
    renewals = []
    for _ in range(70):
        draw(w)
        renewals.append(draw.renewals)
    assert renewals == [1] * 30 + [2] * 30 + [3] * 10
    assert 0 <= draw.told()["accuracy"] <= 0.5
    rows = [e for e in Run(Relabelled(period=0), adam(3e-3), 300, every=299).events() if isinstance(e, Row)]
    assert next(r.value for r in reversed(rows) if r.name == "accuracy") > 0.6


def test_towers_are_rank_polymorphic():
    net = Tower("a", 3, 2, (4,))
    ws = [net.orthogonal(stream(i, "w"), 1.0) for i in range(3)]
    x = torch.randn(3, 7, 3, generator=stream(0, "x"))
    together = net({k: torch.stack([w[k] for w in ws]) for k in ws[0]}, x)
    for i, w in enumerate(ws):
        assert torch.allclose(together[i], net(w, x[i]), atol=1e-6)
        hidden = w["a.layer0.weight"]
        assert torch.allclose(hidden.T @ hidden, 2 * torch.eye(3), atol=1e-5)


def test_upgd_learns():
    rows = [e for e in Run(Dials(8), upgd(0.3), 200, every=199).events() if isinstance(e, Row) and e.name == "held_out"]
    assert rows[-1].value < 0.2


def test_the_accuracy_told_is_that_of_a_whole_period():
    """It once was that of the period so far, and depended on when one asked."""
    task = Relabelled(period=10)
    w = task.init(stream(0, "init"))
    draw, right, told = task.source(stream(0, "data")), [], []
    for _ in range(25):
        batch = draw(w)
        right.append(float((task.net(w, batch["x"]).argmax(1) == batch["y"]).float().mean()))
        told.append(draw.told()["accuracy"])
    assert told[4] == pytest.approx(sum(right[:5]) / 5)
    assert told[10:20] == [pytest.approx(sum(right[:10]) / 10)] * 10
    assert told[20:] == [pytest.approx(sum(right[10:20]) / 10)] * 5
