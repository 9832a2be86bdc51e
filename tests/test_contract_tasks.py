"""Every task, found by walking: a reproducible value, a pure mean loss, a right and finite gradient and curvature."""

import dataclasses
import inspect
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from test_contract_parts import copied, same
from test_module import fit, net, noisy_net, regression, squared
from torch.utils._pytree import tree_map
from walk import names, public

from adamantine import tree
from adamantine.data.glyphs import Glyphs
from adamantine.key import key_of
from adamantine.nets.decoder import Decoder
from adamantine.nets.resnet import ResNet
from adamantine.optim.sgd import sgd
from adamantine.point import Point, Task, stream
from adamantine.run import Checkpoint, Row, Run
from adamantine.tasks.images import Images
from adamantine.tasks.language import Language
from adamantine.tasks.logistic import HeavyTailedLogistic
from adamantine.tasks.module import ModuleTask
from adamantine.tasks.quadratic import Quadratic
from adamantine.tasks.scalar import TwoLayerScalar


class Position:
    """A stream that knows where it is."""

    def __init__(self):
        self.at = 0

    def __call__(self):
        self.at += 1
        x = 0.3 * torch.arange(16.0).reshape(4, 4) / self.at
        return x, x[:, :3].sin()

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, held):
        self.at = held["at"]


def in_order(rng):
    return Position()


# What a task without defaults asks its user for, by the name of the field.
GIVEN = {"build": net, "loss": squared, "batches": regression, "evaluate": fit}
NAMES = names() | {f.__name__: f for f in (*GIVEN.values(), noisy_net, in_order)}


def is_task(x):
    wanted = ("init", "source", "losses", "score")
    return inspect.isclass(x) and dataclasses.is_dataclass(x) and all(hasattr(x, m) for m in wanted)


@cache
def tasks():
    found = []
    for kind in public("adamantine.tasks", is_task):
        missing = [
            f.name for f in dataclasses.fields(kind) if f.init and f.default is f.default_factory is dataclasses.MISSING
        ]
        found.append(kind(**{n: GIVEN[n] for n in (*missing, *(["evaluate"] if missing else []))}))
    return tuple(found) + others()


def others():
    """What defaults do not show: noise, masks, coupled examples, streams with a state of their own."""
    return (
        Quadratic((2.0, 0.5, -0.1), basis="random", noise=1.0, batch=4, matrix=(1, 2)),
        HeavyTailedLogistic(3, batch=8),
        TwoLayerScalar(noise=0.5, batch=4),
        Language(tokens=300, model=Decoder(300, 16, 16, 1, 2, dropout=0.2), batch=4, limit=50_000, held_out=8),
        Images(Glyphs(8, "ABC", test=50), ResNet(1, 3, 4, norm="batch"), 8),
        ModuleTask(noisy_net, squared, regression, fit, splits=False),
        ModuleTask(net, squared, in_order, fit),
    )


def label(task):
    return type(task).__name__


def point(task, dtype=torch.float64, seed=0):
    w = tree.place(task.init(stream(seed, "init")), "cpu", dtype)
    if isinstance(w, dict) and all(not x.any() for x in w.values()):
        w = {k: 0.1 * torch.randn(x.shape, generator=stream(seed, k), dtype=dtype) for k, x in w.items()}
    return Point(task, w, tree.place(task.source(stream(seed, "data"))(w), "cpu", dtype), seed=seed)


def direction(p, seed):
    v = {k: torch.randn(x.shape, generator=stream(seed, f"v/{k}"), dtype=x.dtype) for k, x in p.w.items()}
    return tree.each(lambda x: x / tree.norm(v), v)


def far(a, b):
    return float(tree.norm(tree.add(a, b, -1.0)))


def check_pure(task):
    p = point(task)
    before = copied(p.w), copied(p.batch)
    first, second = task.losses(p.w, p.batch), task.losses(p.w, p.batch)
    assert torch.equal(first, second), f"{label(task)}: the same weights and batch give two losses"
    assert same((p.w, p.batch), before), f"{label(task)} changes its weights or its batch"
    assert first.ndim == 1, f"{label(task)}: the losses have the shape {tuple(first.shape)}, not [B]"
    assert torch.isfinite(first).all()
    assert float(p.loss) == pytest.approx(float(first.mean()), rel=1e-12)


def check_examples(task):
    """The loss of some examples is that part of the losses."""
    p = point(task)
    whole = task.losses(p.w, p.batch)
    size = len(whole)
    part = tree_map(lambda x: x[: size // 2] if isinstance(x, torch.Tensor) and len(x) == size else x, p.batch)
    if size > 1 and getattr(task, "splits", True):
        alone = task.losses(p.w, part)
        assert torch.allclose(alone, whole[: size // 2]), f"{label(task)}: examples are not by themselves"
        each = p.each_grad()
        assert far({k: x.mean(0) for k, x in each.items()}, p.grad) < 1e-8 * (1 + float(tree.norm(p.grad)))


def check_derivatives(task):
    p, h = point(task), 1e-5
    for seed in range(3):
        v, u = direction(p, seed), direction(p, seed + 10)
        there, here = (p.at(tree.add(p.w, v, s * h)) for s in (1, -1))
        slope = float(there.loss - here.loss) / (2 * h)
        assert float(tree.dot(p.grad, v)) == pytest.approx(slope, rel=1e-4, abs=1e-7), f"{label(task)}: gradient"
        numeric = tree.each(lambda a, b: (a - b) / (2 * h), there.grad, here.grad)
        curved = p.hvp(v)
        assert far(curved, numeric) < 1e-4 * (1e-3 + float(tree.norm(numeric))), f"{label(task)}: curvature"
        assert float(tree.dot(u, curved)) == pytest.approx(float(tree.dot(v, p.hvp(u))), rel=1e-6, abs=1e-9)


def check_score(task):
    w = task.init(stream(0, "init"))
    before, first = copied(w), task.score(w)
    draw = task.source(stream(1, "data"))
    for _ in range(2):
        draw(w)
    assert task.score(w) == first, f"{label(task)}: the same weights have two scores"
    assert same(w, before), f"{label(task)}: scoring changes the weights"
    assert {"held_out", "evaluated"} & set(first), "comparisons report it"
    assert all(isinstance(x, float) and x == x for x in first.values())


def check_goes_on(task):
    run = Run(task, sgd(1e-3, 0.9), steps=5, every=2)
    events = list(run.events(checkpoint_every=0))
    rows = [e for e in events if isinstance(e, Row)]
    assert rows == [e for e in run.events() if isinstance(e, Row)], f"{label(task)}: equal runs give two results"
    middle = [e for e in events if isinstance(e, Checkpoint)][2]
    before = [e for e in events[: events.index(middle)] if isinstance(e, Row)]
    resumed = before + [e for e in run.events(middle) if isinstance(e, Row)]
    assert resumed == rows, f"{label(task)}: resumed, a run gives another result"


@pytest.mark.parametrize("task", tasks(), ids=label)
def test_is_a_value(task):
    assert isinstance(task, Task)
    assert eval(repr(task), dict(NAMES)) == task
    assert task.__dataclass_params__.frozen
    assert key_of(Run(task, sgd(0.1))) == key_of(Run(eval(repr(task), dict(NAMES)), sgd(0.1)))
    assert inspect.getdoc(type(task))


@pytest.mark.parametrize("task", tasks(), ids=label)
def test_start_and_batches_depend_on_their_generators_only(task):
    a, b = (task.init(stream(0, "init")) for _ in range(2))
    assert same(a, b)
    assert all(x.is_floating_point() and not x.requires_grad for x in a.values())
    one, other = (task.source(stream(0, "data")) for _ in range(2))
    for _ in range(3):
        assert same(one(a), other(a))
    global_state = torch.random.get_rng_state()
    task.losses(a, one(a))
    task.score(a)
    assert torch.equal(torch.random.get_rng_state(), global_state), "it draws from the global generator"


@pytest.mark.parametrize("task", tasks(), ids=label)
def test_losses_are_pure_and_their_mean_is_the_loss(task):
    check_pure(task)


@pytest.mark.parametrize("task", tasks(), ids=label)
def test_examples_are_by_themselves(task):
    check_examples(task)


@pytest.mark.parametrize("task", tasks(), ids=label)
def test_gradient_and_curvature_are_right(task):
    check_derivatives(task)


@pytest.mark.parametrize("task", tasks(), ids=label)
def test_scores_are_numbers_and_always_the_same(task):
    check_score(task)


@pytest.mark.parametrize("task", tasks(), ids=label)
def test_a_run_is_reproducible_and_goes_on_from_any_checkpoint(task):
    check_goes_on(task)


@pytest.mark.parametrize("task", [t for t in tasks() if hasattr(t, "samples")], ids=label)
def test_samples_are_images(task):
    drawn = task.samples(task.init(stream(0, "init")))
    assert drawn
    for images in drawn.values():
        assert images.ndim == 3
        assert (images >= 0).all()
        assert (images <= 1).all()


def masked(task):
    return {"seed", "seeds"} & set(b) if isinstance(b := point(task).batch, dict) else set()


@pytest.mark.parametrize("task", [t for t in tasks() if masked(t)], ids=label)
def test_every_batch_has_masks_of_its_own(task):
    draw = task.source(stream(0, "data"))
    (name,) = masked(task)
    drawn = [tuple(draw({})[name].tolist()) for _ in range(4)]
    assert len(set(drawn)) == 4


def test_keys_are_the_same_in_another_process():
    code = "import test_contract_tasks as t; print(*[t.key_of(t.Run(x, t.sgd(0.1))) for x in t.tasks()])"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": "7"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    keys = [key_of(Run(task, sgd(0.1))) for task in tasks()]
    assert out.stdout.split() == keys
    assert len(set(keys)) == len(keys)


def test_there_are_tasks_of_every_kind():
    assert {"Language", "Images", "Generation", "Quadratic", "ModuleTask"} <= {label(t) for t in tasks()}


# --- the suite bites ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bad:
    """A parabola with a fault of one's choice."""

    fault: str = ""

    def init(self, rng):
        return {"w": torch.randn(3, generator=rng)}

    def source(self, rng):
        if self.fault == "forgets":
            apart = torch.Generator().manual_seed(0)
            return lambda w: torch.randn(4, 3, generator=apart)
        return lambda w: torch.randn(4, 3, generator=rng)

    def losses(self, w, batch):
        loss = (batch * w["w"]).square().sum(1)
        if self.fault == "sum":
            return loss.sum()
        if self.fault == "random":
            return loss + torch.rand(1)
        if self.fault == "writes":
            batch.add_(1.0)
        if self.fault == "coupled":
            return loss - loss.mean()
        if self.fault == "cut":
            return loss + w["w"].detach().square().sum()
        return loss

    def score(self, w):
        if self.fault == "moves":
            w["w"].mul_(0.5)
        return {"held_out": float(torch.rand(())) if self.fault == "lottery" else 0.0}


def test_the_suite_bites():
    for check in (check_pure, check_examples, check_derivatives, check_score, check_goes_on):
        check(Bad())
    for fault, check, says in (
        ("sum", check_pure, "not \\[B\\]"),
        ("random", check_pure, "two losses"),
        ("writes", check_pure, "changes its weights|two losses"),
        ("coupled", check_examples, "by themselves"),
        ("cut", check_derivatives, "gradient"),
        ("lottery", check_score, "two scores"),
        ("moves", check_score, "changes the weights"),
        ("forgets", check_goes_on, "resumed"),
    ):
        with pytest.raises(AssertionError, match=says):
            check(Bad(fault))
