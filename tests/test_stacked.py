"""Runs advanced as one go the way they would go alone."""

import dataclasses
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from adamantine import checkpoint, listing, stacked, tree
from adamantine.control.cart_pole import CartPole
from adamantine.lanes import Lanes
from adamantine.optim.adam import adam
from adamantine.optim.clip import Clip
from adamantine.optim.lr import Lr
from adamantine.optim.schedule import Linear
from adamantine.optim.sgd import sgd
from adamantine.part import Part
from adamantine.point import Point, stream
from adamantine.role import Named, asks
from adamantine.route import Route
from adamantine.run import Checkpoint, Diverged, Row, Run, Trained
from adamantine.tasks.dials import Dials
from adamantine.tasks.dqn import DQN
from adamantine.tasks.images import Images
from adamantine.tasks.ppo import PPO
from adamantine.tasks.relabelled import Relabelled
from adamantine.tasks.twin import Twin


@dataclass(frozen=True)
class Regression:
    """Fit a random function by two layers; batches are drawn, the data are the run's own."""

    width: int = 6

    def init(self, rng):
        return {
            "layer0.weight": torch.randn(self.width, 3, generator=rng),
            "layer0.bias": torch.zeros(self.width),
            "head.weight": torch.randn(2, self.width, generator=rng) / self.width,
        }

    def source(self, rng):
        turn = torch.randn(3, 2, generator=rng)

        def draw(w):
            x = torch.randn(8, 3, generator=rng)
            return {"x": x, "y": (x @ turn).sin()}

        return draw

    def losses(self, w, batch):
        hidden = torch.tanh(F.linear(batch["x"], w["layer0.weight"], w["layer0.bias"]))
        return (F.linear(hidden, w["head.weight"]) - batch["y"]).square().sum(-1)

    def score(self, w):
        return {"held_out": float(tree.norm(w))}


@dataclass(frozen=True)
class Jitter(Part):
    """Noise of the run's own behind the direction."""

    size: float = 0.1

    def update(self, u, s, p):
        return {k: x + self.size * torch.randn(x.shape, generator=p.rng(k)).to(x) for k, x in u.items()}, s


def rows(events):
    return {(e.name, e.step): e.value for e in events if isinstance(e, Row)}


def together(runs, **kwargs):
    found = [[] for _ in runs]
    for i, event in stacked.events(runs, **kwargs):
        if i >= 0:
            found[i].append(event)
    return found


def check_alike(runs, rel):
    for run, found in zip(runs, together(runs), strict=True):
        alone = list(run.events())
        mine, own = rows(found), rows(alone)
        assert mine.keys() == own.keys()
        for name, x in own.items():
            assert mine[name] == pytest.approx(x, rel=rel, abs=rel), name
        assert isinstance(found[-1], Trained)
        for k, x in alone[-1].w.items():
            assert torch.allclose(found[-1].w[k], x, rtol=rel, atol=rel), k


def seeds_and_rates(task, make, steps=24, **kwargs):
    cases = [(0, "report", 1e-3), (1, "report", 3e-3), (0, "tune", 1e-3), (2, "tune", 1e-2)]
    return [
        Run(task, make(rate), steps, seed, role, every=5, score_every=10, dtype="float64", **kwargs)
        for seed, role, rate in cases
    ]


def clipped(rate):
    return Clip(0.5, adam(rate, eps=1e-5, schedule=Linear(warmup=0.0)))


def split(rate):
    return Route(Named("critic.*"), sgd(rate, 0.9), adam(rate))


def norm_of_weights(p):
    """A probe that sees weights, update and what the state holds of averages."""
    held = {f"{m.kind} of {m.t}": float(tree.norm(m.value)) for m in p.optimizer.moments(p.s, p.w)}
    return held | {
        "size": float(tree.norm(p.w)),
        "update": float(tree.norm(p.u)),
        "apart": float(len(p.held_out["value"])),
    }


@pytest.mark.parametrize("make", [clipped, split], ids=lambda f: f.__name__)
@pytest.mark.parametrize("world", [CartPole(), CartPole(sparse=True, limit=20)], ids=repr)
def test_stacked_agents_are_single_agents(make, world):
    task = PPO(world, 2, 32, epochs=2, minibatches=4, held_out=1)
    check_alike(seeds_and_rates(task, make, 24, probes=(norm_of_weights,)), 1e-6)


@pytest.mark.parametrize("task", [Regression(), Images(batch=8)], ids=lambda t: type(t).__name__)
def test_supervised_runs_too(task):
    check_alike(seeds_and_rates(task, clipped), 1e-9)


@pytest.mark.parametrize("name", list(listing.recipes()))
def test_every_recipe_goes_as_it_would_alone(name):
    make = listing.recipes()[name]
    if asks(make(lr=1e-3)):
        pytest.skip("it asks for the roles of tensors, which this task does not tell")
    runs = [
        Run(Regression(), make(lr=rate), 12, seed, dtype="float64") for seed, rate in ((0, 1e-3), (1, 3e-3), (2, 1e-3))
    ]
    check_alike(runs, 1e-6)


def way(parts, w=None, steps=30):
    """How the optimizer is applied."""
    task = Regression()
    ws = [tree.place(task.init(stream(i, "init")), "cpu", torch.float64) for i in range(len(parts))]
    batch = stacked.stacked(
        [tree.place(task.source(stream(i, "data"))({}), "cpu", torch.float64) for i in range(len(ws))]
    )
    p = Point(task, stacked.stacked(ws), batch, 0, steps)
    grads = stacked.stacked([Point(task, w, stacked.of(batch, i)).grad for i, w in enumerate(ws)])
    lanes = Lanes(parts)
    lanes.update(p.given(grads), [f"report/{i}" for i in range(len(ws))], False)
    return lanes.way.groups


def test_the_fastest_right_way_is_found():
    whole = ["layer0.weight", "layer0.bias", "head.weight"]
    assert way([clipped(1e-3), clipped(1e-2)]) == {"all": whole}
    by_head = {"layer0.all": whole[:2], "head.all": whole[2:]}
    assert way([Route(Named("head.*"), sgd(r), adam(r)) for r in (0.1, 0.2)]) == by_head
    lamb = listing.recipes()["lamb"]
    assert way([lamb(lr=r) for r in (0.1, 0.2)]) == {k: [k] for k in whole}
    assert way([Jitter() >> Lr(r) for r in (0.1, 0.2)]) is None


def test_noise_is_each_runs_own():
    check_alike([Run(Regression(), Jitter(0.1) >> Lr(r), 8, s, dtype="float64") for s, r in ((0, 0.1), (3, 0.2))], 1e-9)


def test_one_that_diverges_leaves_the_others_alone():
    runs = [Run(Regression(), sgd(rate), 60, seed, dtype="float64") for seed, rate in ((0, 1e-2), (1, 1e9), (2, 1e-2))]
    found = together(runs)
    alone = list(runs[1].events())
    assert isinstance(alone[-1], Diverged)
    assert found[1][-1] == alone[-1]
    for i in (0, 2):
        assert rows(found[i]) == pytest.approx(rows(runs[i].events()), rel=1e-9)


@pytest.mark.parametrize(
    "task", [PPO(envs=2, horizon=32, held_out=1, normalize=True), Images(batch=8)], ids=lambda t: type(t).__name__
)
def test_a_stack_goes_on_from_a_checkpoint_bit_for_bit(task):
    runs = [Run(task, clipped(rate), 40, seed, every=3) for seed, rate in ((0, 1e-3), (1, 1e-2))]
    events = list(stacked.events(runs, checkpoint_every=0))
    places = [n for n, (i, e) in enumerate(events) if isinstance(e, Checkpoint)]
    for place in (places[0], places[13], places[29]):
        again = [x for x in stacked.events(runs, events[place][1]) if not isinstance(x[1], Trained)]
        assert again == [x for x in events[place + 1 :] if not isinstance(x[1], (Checkpoint, Trained))]


def test_runs_that_differ_in_more_are_refused():
    runs = [Run(Regression(), adam(1e-3)), Run(Regression(7), adam(1e-3))]
    with pytest.raises(ValueError, match="differ in more than seeds"):
        list(stacked.events(runs))
    assert stacked.cohort(runs[0]) != stacked.cohort(dataclasses.replace(runs[0], optimizer=sgd(0.1)))
    assert stacked.cohort(runs[0]) == stacked.cohort(Run(Regression(), adam(0.3), seed=4, role="tune"))


@dataclass(frozen=True)
class Ragged(Regression):
    """Batches whose size depends on the run."""

    def source(self, rng):
        n = int(torch.randint(3, 90, (), generator=rng))
        return lambda w: {"x": torch.ones(n, 3), "y": torch.ones(n, 2)}


def test_batches_that_do_not_fit_get_a_sentence():
    with pytest.raises(ValueError, match="different shapes"):
        list(stacked.events([Run(Ragged(), adam(1e-3), seed=s) for s in range(3)]))


@pytest.mark.parametrize(
    "task",
    [
        PPO(envs=2, horizon=32, held_out=1, normalize=True, action_nats=0.01),
        DQN(starts=40, memory=64, batch=16, every=4, sync=8, widths=(8,), held_out=1),
        Twin(PPO(envs=2, horizon=32, held_out=1)),
        Dials(period=4),
        Relabelled(period=8),
    ],
    ids=lambda t: type(t).__name__,
)
def test_a_stack_goes_on_from_a_file(task, tmp_path):
    runs = [Run(task, clipped(rate), 24, seed, every=3) for seed, rate in ((0, 1e-3), (1, 1e-2))]
    events = list(stacked.events(runs, checkpoint_every=0))
    place = [n for n, (i, e) in enumerate(events) if isinstance(e, Checkpoint)][17]
    checkpoint.save(tmp_path / "c.safetensors", events[place][1], [])
    held, _ = checkpoint.load(tmp_path / "c.safetensors")
    again = [x for x in stacked.events(runs, held) if not isinstance(x[1], Trained)]
    assert again == [x for x in events[place + 1 :] if not isinstance(x[1], (Checkpoint, Trained))]
