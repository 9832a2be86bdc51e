"""`adamantine.watch`: training goes on as if nobody looked, and what is measured is what happened."""

import copy
import math
import random
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import adamantine
from adamantine import tree
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Momentum
from adamantine.pieces import Pieces, pieces
from adamantine.point import Point, stream
from adamantine.probes.batch_sharpness import BatchSharpness
from adamantine.probes.density import GradientDensity
from adamantine.probes.directional import DirectionalSharpness
from adamantine.probes.preconditioned_sharpness import PreconditionedSharpness
from adamantine.probes.sharpness import Sharpness
from adamantine.store import Store
from adamantine.watching import journal, presets
from adamantine.watching.draws import draws
from adamantine.watching.loss import understood
from adamantine.watching.steps import accumulating
from adamantine.watching.task import WatchedTask
from adamantine.watching.timetable import Budget, timetable

DENSITY = next(iter(GradientDensity().units))
CURVATURE = (Sharpness(products=3), DirectionalSharpness(fresh=True, batches=3), GradientDensity(), BatchSharpness(2))


class Noise(nn.Module):
    """Draws from a generator of its own and from those of numpy and Python."""

    def __init__(self):
        super().__init__()
        self.rng = torch.Generator().manual_seed(1)

    def forward(self, x):
        return (
            x * (1 + 0.1 * torch.rand(x.shape, generator=self.rng)) + 0.01 * np.random.rand() + 0.01 * random.random()  # noqa: NPY002
        )


class Augmented(Dataset):
    """Examples that look different every time."""

    def __init__(self):
        self.transforms = [np.random.default_rng(1), random.Random(1), torch.Generator().manual_seed(1)]

    def __len__(self):
        return 48

    def __getitem__(self, i):
        x = torch.sin(torch.arange(6.0) * (i + 1)) + 0.1 * torch.randn(6) + 0.1 * random.random()
        array, number, tensor = self.transforms
        return x + array.random() + number.random() + torch.rand(6, generator=tensor), i % 3


class SignSgd(torch.optim.Optimizer):
    """An optimizer of a third party."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        for group in self.param_groups:
            for x in group["params"]:
                x.data.add_(x.grad.sign(), alpha=-group["lr"])


class Seen:
    """A probe that keeps the points it is given."""

    def __init__(self):
        self.points = []

    def __repr__(self):
        return "Seen()"

    def __call__(self, p):
        self.points.append(p)
        return {"seen": 1.0}


class Wasteful:
    """A probe that draws at random from everywhere and breaks down."""

    def __call__(self, p):
        torch.rand(3), np.random.rand(), random.random()  # noqa: NPY002
        raise RuntimeError("broken")


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), Noise(), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 8), nn.ReLU(),
        nn.Linear(8, 3),
    )  # fmt: skip


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def fixed(n=6, size=8):
    rng = torch.Generator().manual_seed(3)
    return [(torch.randn(size, 6, generator=rng), torch.randint(3, (size,), generator=rng)) for _ in range(n)]


def smooth(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def mixed(model, batch):
    with torch.autocast("cpu", torch.bfloat16):
        return smooth(model, batch)


OPTIMIZERS = {
    "sgd": lambda w: torch.optim.SGD(w, 0.05, momentum=0.9),
    "adamw": lambda w: torch.optim.AdamW(w, 1e-2),
    "third party": lambda w: SignSgd(w, 1e-3),
    "ours": None,
}


def traces(model, optimizer, records):
    """All that another run could differ in."""
    return {
        "weights": [x.detach().clone() for x in model.parameters()],
        "grads": [None if x.grad is None else x.grad.clone() for x in model.parameters()],
        "buffers": [x.clone() for x in model.buffers()],
        "state": copy.deepcopy(optimizer.state_dict()["state"]),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "own": [m.rng.get_state() for m in model.modules() if isinstance(m, Noise)],
        "modes": [m.training for m in model.modules()],
        "hooks": [len(m._forward_hooks) for m in model.modules()],
        "records": records,
    }


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(x, b[k]) for k, x in a.items())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def trained(watched, kind, path, scaled=False, accumulate=1, scheduled=False):
    """Two epochs on augmented data drawn with the global generators, watched by curvature or not at all."""
    model = net()
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    build = OPTIMIZERS[kind]
    optimizer = adamantine.torch_optimizer(model, "adamw", lr=1e-2) if build is None else build(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5) if scheduled else None
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=2) if scaled else None
    loss = mixed if scaled else smooth
    loader = DataLoader(Augmented(), 8, shuffle=True, generator=torch.Generator().manual_seed(5))
    watch = None
    if watched:
        probes = (*CURVATURE, Wasteful())
        watch = adamantine.watch(model, optimizer, loss, loader, probes, every=2, store=path)
    records = []
    for _ in range(2):
        for i, batch in enumerate(loader):
            value = loss(model, batch).mean() / accumulate
            records.append(float(value.detach()))
            (scaler.scale(value) if scaler else value).backward()
            if (i + 1) % accumulate == 0:
                if scaler:
                    scaler.step(optimizer)
                    scaler.update()
                else:
                    optimizer.step()
                if i % 2:
                    optimizer.zero_grad()
                if scheduler:
                    scheduler.step()
            if watch:
                watch.step(batch, accuracy=0.5)
    if watch:
        assert watch.unavailable == {repr(watch._measuring.probes[-1]): "RuntimeError: broken"}
        rows = watch.result.rows
        assert {r.step for r in rows if r.name == "sharpness"} == {*range(0, 12 // accumulate, 2)}
        assert all(math.isfinite(r.value) for r in rows if r.name in ("loss", "sharpness"))
        watch.close(page=False)
        assert not optimizer._optimizer_step_pre_hooks
        assert not optimizer._optimizer_step_post_hooks
    return traces(model, optimizer, records)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_watched_run_is_bit_equal(kind, tmp_path):
    bare, watched = (trained(x, kind, tmp_path) for x in (False, True))
    for name, x in bare.items():
        assert equal(x, watched[name]), name


@pytest.mark.parametrize("given", [{"scaled": True}, {"accumulate": 3}, {"scheduled": True}], ids=str)
def test_a_watched_run_is_bit_equal_with_scaler_accumulation_and_scheduler(given, tmp_path):
    bare, watched = (trained(x, "sgd", tmp_path, **given) for x in (False, True))
    for name, x in bare.items():
        assert equal(x, watched[name]), name


def test_a_difference_would_be_seen(tmp_path):
    a = trained(False, "sgd", tmp_path)
    b = trained(False, "sgd", tmp_path)
    b["torch"][7] ^= 1
    assert equal(a["weights"], b["weights"])
    assert not equal(a["torch"], b["torch"])


def stepped(model, optimizer, batches, watch, loss=smooth, **given):
    for batch in batches:
        optimizer.zero_grad()
        loss(model, batch).mean().backward()
        optimizer.step()
        watch.step(batch, **given)


def test_the_point_is_where_the_optimizer_stepped(tmp_path):
    model, seen = small(), Seen()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    watch = adamantine.watch(model, optimizer, smooth, probes=[seen], every=2, store=tmp_path)
    befores, grads, afters = [], [], []
    for batch in fixed():
        optimizer.zero_grad()
        smooth(model, batch).mean().backward()
        befores.append({k: x.detach().clone() for k, x in model.named_parameters()})
        grads.append({k: x.grad.clone() for k, x in model.named_parameters()})
        optimizer.step()
        afters.append({k: x.detach().clone() for k, x in model.named_parameters()})
        scheduler.step()
        watch.step(batch)
    assert [p.step for p in seen.points] == [0, 2, 4]
    for p in seen.points:
        assert equal(p.w, befores[p.step])
        assert equal(p.u, {k: x - afters[p.step][k] for k, x in befores[p.step].items()})
        for k, g in grads[p.step].items():
            assert torch.allclose(p.grad[k], g, atol=1e-7)
        assert p.s[0]["lr"] == pytest.approx(0.1 * 0.5**p.step)
    assert watch.notes == ()
    rows = {r.step: r.value for r in watch.result.rows if r.name == "loss"}
    assert rows == {0: pytest.approx(float(seen.points[0].loss))}


def test_curvature_is_that_of_the_module(tmp_path):
    model = small().double()
    batch = tuple(x.double() if x.is_floating_point() else x for x in fixed(1)[0])
    task = WatchedTask(model, understood(smooth))
    w = task.init(stream(0, "init"))
    names, flat = list(w), tree.flat(w)

    def value(v):
        return smooth(lambda x: torch.func.functional_call(model, tree.like(v, w), (x,)), batch).mean()

    hessian = torch.func.jacrev(torch.func.jacrev(value))(flat)
    p = Point(task, w, task.batch(batch, stream(0, "masks")))
    v = tree.like(torch.randn(len(flat), generator=torch.Generator().manual_seed(0), dtype=flat.dtype), w)
    assert torch.allclose(tree.flat(p.hvp(v)), hessian @ tree.flat(v), atol=1e-10)
    each = p.each_grad()
    for i in (0, 5):
        one = Point(task, w, task.batch(tuple(x[i : i + 1] for x in batch), stream(0, "masks"))).grad
        assert all(torch.allclose(each[k][i], one[k]) for k in names)


def test_the_gauss_newton_matrix_of_a_linear_model_is_the_hessian():
    model = nn.Linear(6, 3)
    task = WatchedTask(model, understood(smooth))
    given = [task.batch(b, stream(i, "masks")) for i, b in enumerate(fixed(2))]
    v = tree.each(lambda x: torch.randn(x.shape, generator=torch.Generator().manual_seed(0)), task.init(stream(0, "i")))
    for batch in (given[0], Pieces(tuple(given))):
        p = Point(task, task.init(stream(0, "i")), batch)
        product, other = p.ggn_vp(v), p.hvp(v)
        assert all(torch.allclose(x, other[k], atol=1e-6) for k, x in product.items())
    twice = WatchedTask(model, lambda m, b: smooth(m, b) + m(b[0]).square().sum(1))
    with pytest.raises(ValueError, match="calls the model once"):
        Point(twice, task.init(stream(0, "i")), given[0]).ggn_vp(v)


def test_accumulated_batches_are_pieces(tmp_path):
    model, seen = small(), Seen()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = adamantine.watch(model, optimizer, smooth, probes=[seen], every=2, store=tmp_path)
    batches = fixed(12)
    for i, batch in enumerate(batches):
        (smooth(model, batch).mean() / 3).backward()
        if i % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
        watch.step(batch)
    first, second = seen.points
    assert isinstance(first.batch, Pieces)
    assert [p.step for p in seen.points] == [0, 2]
    assert equal([b["batch"] for b in pieces(second.batch)], batches[6:9])
    whole = tuple(torch.cat([b[i] for b in batches[6:9]]) for i in (0, 1))
    assert float(second.loss) == pytest.approx(float(Point(second.task, second.w, second.task.batch(
        whole, stream(0, "masks"))).loss))  # fmt: skip
    assert len({int(b["seed"][0]) for b in pieces(second.batch)}) == 3


@pytest.mark.parametrize("kind", ["sgd", "fused"])
def test_steps_that_a_scaler_skips_are_not_measured(tmp_path, kind):
    model, seen = small(), Seen()
    w = model.parameters()
    optimizer = torch.optim.SGD(w, 0.1) if kind == "sgd" else torch.optim.Adam(w, 0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    watch = adamantine.watch(model, optimizer, smooth, probes=[seen], every=1, store=tmp_path)
    batches = fixed(4)
    for i, batch in enumerate(batches):
        optimizer.zero_grad()
        scaler.scale(smooth(model, batch).mean() * (math.inf if i == 1 else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
        watch.step(batch)
    assert equal([p.batch["batch"] for p in seen.points], [batches[0], batches[2], batches[3]])


@pytest.mark.parametrize(
    ("grads", "expected"), [((None, 1.0), True), ((None, None), False), ((0.0, 0.0), False), ((1.0, math.inf), False)]
)
def test_gradients_for_a_step_to_come(grads, expected):
    params = {}
    for k, g in zip("ab", grads, strict=True):
        params[k] = nn.Parameter(torch.ones(2))
        params[k].grad = None if g is None else torch.full((2,), g)
    assert accumulating(params) == expected


@pytest.mark.parametrize("ours", [False, True])
def test_the_edge_is_that_of_the_rate_of_the_step(ours, tmp_path):
    model = small().double()
    batch = tuple(x.double() if x.is_floating_point() else x for x in fixed(1)[0])
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    if ours:
        optimizer = adamantine.torch_optimizer(model, Momentum(0.9) >> Lr(0.1))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    probes = [Sharpness(40, tolerance=1e-9), PreconditionedSharpness(40, tolerance=1e-9)]
    watch = adamantine.watch(model, optimizer, smooth, probes=probes, every=1, store=tmp_path)
    for _ in range(3):
        optimizer.zero_grad()
        smooth(model, batch).mean().backward()
        optimizer.step()
        scheduler.step()
        watch.step(batch)
    assert watch.unavailable == {}
    plain, edge = (watch.result.series(k)[1] for k in ("sharpness", "edge"))
    assert edge == pytest.approx(plain * 0.1 * 0.5 ** np.arange(3) / (2 * 1.9), rel=1e-5)


def test_lbfgs_and_closures(tmp_path):
    model, seen = small(), Seen()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    watch = adamantine.watch(model, optimizer, smooth, probes=[seen], every=1, store=tmp_path)
    batch = fixed(1)[0]

    def closure():
        optimizer.zero_grad()
        value = smooth(model, batch).mean()
        value.backward()
        return value

    for _ in range(3):
        before = {k: x.detach().clone() for k, x in model.named_parameters()}
        optimizer.step(closure)
        watch.step(batch)
        assert equal(seen.points[-1].w, before)
        after = tree.add(before, seen.points[-1].u, -1.0)
        assert all(torch.allclose(after[k], x) for k, x in model.named_parameters())
    assert watch.notes == ()
    assert watch.unavailable == {}


def test_tied_frozen_and_foreign_parameters(tmp_path):
    model = nn.ModuleDict({"a": nn.Linear(6, 6), "b": nn.Linear(6, 6), "c": nn.Linear(6, 6), "d": nn.Linear(6, 3)})
    model["b"].weight = model["a"].weight
    model["c"].requires_grad_(False)
    seen = Seen()

    def loss(m, batch):
        return F.cross_entropy(m["d"](m["c"](m["b"](m["a"](batch[0]).tanh()))), batch[1], reduction="none")

    optimizer = torch.optim.SGD([*model["a"].parameters(), *model["c"].parameters()], 0.1)
    watch = adamantine.watch(model, optimizer, loss, probes=[seen], every=1, store=tmp_path)
    stepped(model, optimizer, fixed(2), watch, loss)
    assert [*seen.points[0].w] == ["a.weight", "a.bias"]
    for k, x in seen.points[1].grad.items():
        assert float(x.abs().max()) > 0, k


def test_masks_are_the_same_for_every_question_and_new_at_every_step(tmp_path):
    model, seen = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)), Seen()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    watch = adamantine.watch(model, optimizer, smooth, fixed(3), [seen], every=1, store=tmp_path)
    batch = fixed(1)[0]
    stepped(model, optimizer, [batch, batch], watch)
    p, q = seen.points
    assert float(p.loss) == float(p.at(p.w).loss) != float(q.loss)
    v = tree.each(torch.ones_like, p.w)
    eps = 1e-2
    lower, upper = (p.at(tree.add(p.w, v, s * eps)).grad for s in (-1, 1))
    product = p.hvp(v)
    for k, x in product.items():
        assert torch.allclose(x, (upper[k] - lower[k]) / (2 * eps), atol=2e-3), k
    assert p.fresh("a").batch["seed"][0] != p.fresh("b").batch["seed"][0]


def test_buffers_and_hooks_leave_no_trace():
    model = net()
    calls = []
    handle = model[0].register_forward_hook(lambda *x: calls.append(1))
    before = {k: x.clone() for k, x in model.state_dict().items()}
    task = WatchedTask(model, understood(nn.CrossEntropyLoss()))
    p = Point(task, task.init(stream(0, "i")), task.batch(fixed(1)[0], stream(0, "m")))
    assert float(p.loss) > 0
    assert p.grad
    assert calls
    assert equal(dict(model.state_dict()), before)
    out, losses = task.outputs_and_losses(p.w, p.batch)
    assert out.shape == (8, 3)
    assert float(losses.mean()) == pytest.approx(float(p.loss))
    assert len(model._forward_hooks) == 0
    handle.remove()
    model.eval()
    assert task.splits
    assert not model.training


@pytest.mark.parametrize(
    "criterion", [nn.CrossEntropyLoss(), F.cross_entropy, nn.CrossEntropyLoss(label_smoothing=0.1)]
)
def test_criteria_are_told_apart_by_example(criterion):
    task = WatchedTask(small(), understood(criterion))
    batch, w = fixed(1)[0], task.init(stream(0, "i"))
    losses = task.losses(w, task.batch(batch, stream(0, "m")))
    assert losses.shape == (8,)
    assert task.splits
    assert float(losses.mean()) == pytest.approx(float(criterion(task.model(batch[0]), batch[1]).detach()))


def test_a_criterion_of_many_numbers_an_example():
    model, x = nn.Linear(6, 5), torch.randn(4, 7, 6)
    task = WatchedTask(model, understood(nn.MSELoss()))
    losses = task.losses(task.init(stream(0, "i")), task.batch((x, torch.zeros(4, 7, 5)), stream(0, "m")))
    assert torch.allclose(losses, model(x).square().flatten(1).mean(1))


@pytest.mark.parametrize(
    ("criterion", "why"),
    [
        (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])), "weighs classes"),
        (nn.CrossEntropyLoss(ignore_index=1), "ignored"),
        (nn.CrossEntropyLoss(reduction="sum"), "reduction is 'sum'"),
    ],
)
def test_criteria_that_do_not_split_are_taken_whole(criterion, why):
    task = WatchedTask(small(), understood(criterion))
    batch = fixed(1)[0]
    p = Point(task, task.init(stream(0, "i")), task.batch(batch, stream(0, "m")))
    losses = task.losses(p.w, p.batch)
    assert losses.shape == (1,)
    assert why in (task.whole or "")
    with pytest.raises(ValueError, match=why):
        p.each_grad()
    assert float(losses) == pytest.approx(float(criterion(task.model(batch[0]), batch[1]).detach()))


def test_a_model_that_computes_its_own_loss():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small()

        def forward(self, x, y):
            logits = self.net(x)
            return {"logits": logits, "loss": F.cross_entropy(logits, y)}

    model = Model()
    x, y = fixed(1)[0]
    task = WatchedTask(model, understood(None))
    losses = task.losses(task.init(stream(0, "i")), task.batch({"x": x, "y": y}, stream(0, "m")))
    assert float(losses) == pytest.approx(float(model(x, y)["loss"].detach()))


def test_draws():
    data = TensorDataset(torch.arange(40.0)[:, None])
    own = torch.Generator().manual_seed(7)
    loader = DataLoader(data, 8, shuffle=True, generator=own)
    state, ours = own.get_state(), torch.get_rng_state()
    draw = draws(loader)
    a, b = (draw(stream(0, "a"))[0] for _ in range(2))
    assert torch.equal(a, b)
    assert len(a.unique()) == 8
    assert not torch.equal(a, draw(stream(0, "b"))[0])
    assert torch.equal(own.get_state(), state)
    assert torch.equal(torch.get_rng_state(), ours)
    weighted = torch.utils.data.WeightedRandomSampler([0.0] * 39 + [1.0], 40)
    assert draws(DataLoader(data, 8, sampler=weighted))(stream(0, "a"))[0].unique().tolist() == [39.0]
    subset = torch.utils.data.SubsetRandomSampler([3, 4])
    assert set(draws(DataLoader(data, 2, sampler=subset))(stream(0, "a"))[0].flatten().tolist()) == {3.0, 4.0}
    assert draws(lambda rng: torch.rand(2, generator=rng))(stream(0, "a")).shape == (2,)
    assert draws([1, 2, 3])(stream(0, "a")) in (1, 2, 3)

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([torch.rand(3), torch.rand(3)])

    ours = torch.get_rng_state()
    state = own.get_state()
    flowing = draws(DataLoader(Stream(), None, generator=own))
    got = [flowing(stream(0, "a")) for _ in range(5)]
    assert all(x.shape == (3,) for x in got)
    assert torch.equal(own.get_state(), state)
    assert torch.equal(torch.get_rng_state(), ours)


def test_the_run_is_an_ordinary_result(tmp_path):
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with adamantine.watch(
        model, optimizer, smooth, probes=[GradientDensity()], every=2, store=tmp_path, name="mine"
    ) as watch:
        stepped(model, optimizer, fixed(5), watch, accuracy=0.25)
        facts = watch.result.provenance
        assert [r.name for r in journal.interrupted(Store(tmp_path))[0][0].rows][:1] == ["loss"]
    store = Store(tmp_path)
    result, spec = store.find(watch.key)
    assert (result.status, spec.role, spec.steps) == ("done", "watch", 5)
    assert not store.troubles
    assert result.series("accuracy")[0].tolist() == [0, 1, 2, 3, 4]
    assert result.last("accuracy") == 0.25
    assert result.series(DENSITY)[0].tolist() == [0, 2, 4] == result.series("loss")[0].tolist()
    held = result.provenance
    assert (held["name"], held["model"], held["parameters"]) == ("mine", "Sequential", 83)
    assert held["costs"][repr(GradientDensity())]["calls"] == 3
    assert held["tensors"][0] == "0.weight"
    assert 0 < facts["spent"] < 1
    assert held["optimizer"].startswith("SGD(lr=0.1")
    assert not (tmp_path / "watching" / watch.key).exists()
    assert store.compact() == 1
    assert store.spec(watch.key) == spec
    assert (watch.result.status, watch.result.rows) == ("done", result.rows)
    assert watch.close() is None
    watch.step(fixed(1)[0])


def test_a_torn_journal_is_read_as_far_as_it_came(tmp_path):
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = adamantine.watch(model, optimizer, smooth, probes=[GradientDensity()], every=2, store=tmp_path)
    stepped(model, optimizer, fixed(5), watch)
    file = tmp_path / "watching" / watch.key / "rows.jsonl"
    file.write_bytes(file.read_bytes()[:-9] + b"\n\xff\xfe{\n[1]\n")
    ((result, spec),) = journal.interrupted(Store(tmp_path))
    assert result.status == "interrupted"
    assert spec.role == "watch"
    assert spec.key == watch.key
    assert result.series("loss")[0].tolist() in ([0, 2], [0, 2, 4])
    assert result.provenance["model"] == "Sequential"
    watch.close(page=False)
    assert journal.interrupted(Store(tmp_path)) == []


def test_a_full_disk_loses_nothing(tmp_path, caplog):
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    place = tmp_path / "store"
    place.write_text("a file where the folder should be")
    watch = adamantine.watch(model, optimizer, smooth, probes=[GradientDensity()], every=2, store=place)
    stepped(model, optimizer, fixed(4), watch)
    assert sum("cannot be written" in r.message for r in caplog.records) == 1
    place.unlink()
    stepped(model, optimizer, fixed(2), watch)
    assert len((place / "watching" / watch.key / "rows.jsonl").read_text().splitlines()) == 4
    watch.close(page=False)
    assert Store(place).find(watch.key)[0].series("loss")[0].tolist() == [0, 2, 4]


def test_a_program_that_ends_without_closing(tmp_path):
    program = f"""
        import torch, adamantine
        from torch import nn
        from adamantine.probes.density import GradientDensity
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        watch = adamantine.watch(model, optimizer, nn.MSELoss(), probes=[GradientDensity()], store={str(tmp_path)!r})
        for _ in range(3):
            batch = torch.ones(2, 3), torch.ones(2, 1)
            nn.MSELoss()(model(batch[0]), batch[1]).backward()
            optimizer.step()
            watch.step(batch)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    (result,) = Store(tmp_path).results()
    assert result.status == "done"
    assert result.series("loss")[0].tolist() == [0]


class Clock:
    """A clock that goes only when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def spent(budget, costs, step, steps):
    """A loop of `steps` steps with probes of given costs on a table: seconds by probe, and the steps of each."""
    table, at = Budget(budget, [0.0] * len(costs)), {i: [] for i in range(len(costs))}
    for t in range(steps):
        if t:
            table.passed(step, 0.0)
        for i in table.due(t):
            table.took(i, costs[i])
            at[i].append(t)
    return at


@pytest.mark.parametrize("costs", [[1.0], [0.1, 1.0, 10.0], [0.001, 0.001, 3.0], [0.0, 2.0]])
def test_a_budget_is_kept_and_used(costs):
    step, steps, budget = 1.0, 4000, 0.1
    at = spent(budget, costs, step, steps)
    total = sum(costs[i] * len(x) for i, x in at.items())
    assert total <= budget * step * steps + max(costs)
    assert all(len(x) >= 3 for x in at.values())
    for i, cost in enumerate(costs):
        share = budget * step / len(costs)
        wanted = max(1.0, cost / share)
        gaps = [b - a for a, b in zip(at[i][2:], at[i][3:], strict=False)]
        assert sum(gaps) / len(gaps) == pytest.approx(wanted, rel=0.1, abs=1)
    early = [t for x in at.values() for t in x[:1]]
    assert len(set(early)) == len(costs) or min(costs) == 0.0, "one untried probe at a time"


def test_a_budget_at_any_time_is_exceeded_by_one_first_measurement_at_most():
    costs, budget = [0.5, 4.0, 20.0], 0.1
    at = spent(budget, costs, 1.0, 3000)
    events = sorted((t, i) for i, x in at.items() for t in x)
    total = 0.0
    for t, i in events:
        assert total <= budget * t + max(costs) + 1e-9
        total += costs[i]


def test_untried_probes_wait_until_what_they_may_cost_is_there():
    table, costs, at = Budget(0.1, [1.0, 30.0, 2.0]), [0.5, 14.0, 1.2], {}
    for t in range(1000):
        table.passed(1.0, 0.0)
        for i in table.due(t):
            table.took(i, costs[i])
            at.setdefault(i, t)
    assert at[0] < at[2] < at[1]
    assert at[1] > 300, "by then there is enough for the heavy one"


def test_a_budget_follows_costs_that_change_and_probes_that_go():
    table = Budget(0.1, [0.0, 0.0])
    taken = {0: 0.0, 1: 0.0}
    for t in range(3000):
        table.passed(1.0, 0.0)
        for i in table.due(t):
            cost = (0.01 if t < 1000 else 2.0) if i == 0 else 1.0
            table.took(i, cost)
            taken[i] += cost if t >= 1000 else 0.0
        if t == 2000:
            assert taken[0] <= 1000 * 0.05 + 2 * 2.0, "what was not needed before is not spent at once"
            table.drop(1)
            taken = {0: 0.0, 1: 0.0}
    assert taken[1] == 0.0
    assert taken[0] == pytest.approx(100, rel=0.1)


def test_watching_keeps_its_budget_by_its_own_clock(tmp_path):
    clock = Clock()

    class Slow:
        def __init__(self, seconds):
            self.seconds = seconds

        def __call__(self, p):
            clock.now += self.seconds
            return {"slow": 1.0}

    from adamantine.watching.watcher import Watch

    model = small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    probes = [Slow(0.3), Slow(3.0)]
    watch = Watch(model, optimizer, smooth, None, probes, 16, 0.1, tmp_path, None, 0, (), clock)
    batch = fixed(1)[0]
    for _ in range(400):
        optimizer.zero_grad()
        smooth(model, batch).mean().backward()
        optimizer.step()
        clock.now += 1.0
        watch.step(batch)
    assert 0.07 < watch.spent < 0.1
    calls = [x["calls"] for x in watch.result.provenance["costs"].values()]
    assert calls[0] == pytest.approx(400 / 6, rel=0.15)
    assert calls[1] == pytest.approx(400 / 60, abs=1.5)


def test_intervals_of_single_probes():
    probes = (GradientDensity(), Sharpness(), Seen())
    table = timetable({GradientDensity(): 2, Seen: 3}, None, probes)
    assert [table.due(t) for t in (0, 2, 3, 6, 16)] == [(0, 1, 2), (0,), (2,), (0, 2), (0, 1)]


def test_probes_that_are_measured_more_rarely():
    table = timetable({GradientDensity: 5}, None, {GradientDensity(): 2, Sharpness(): 4})
    assert [table.due(t) for t in (5, 16, 64)] == [(0,), (), (1,)]
    table = timetable(3, None, {GradientDensity(): 1, Sharpness(): 4})
    assert [table.due(t) for t in (0, 3, 12)] == [(0, 1), (0,), (0, 1)]


def test_the_loss_where_no_probe_asks_for_it(tmp_path):
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = adamantine.watch(model, optimizer, smooth, probes=[Seen()], every=1, store=tmp_path)
    stepped(model, optimizer, fixed(10), watch)
    assert watch.result.series("loss")[0].tolist() == [0, 8]


def test_receivers(tmp_path):
    class Run:
        def __init__(self):
            self.logged = []

        def log(self, numbers, step):
            self.logged.append((step, numbers))

    class Broken:
        def add_scalar(self, name, value, step):
            raise OSError("no")

    run, model = Run(), small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = adamantine.watch(
        model, optimizer, smooth, probes=[GradientDensity()], every=2, store=tmp_path, to=(run, Broken())
    )
    stepped(model, optimizer, fixed(3), watch, accuracy=1)
    assert [step for step, _ in run.logged] == [0, 1, 2]
    assert set(run.logged[0][1]) == {"loss", DENSITY, "accuracy"}
    assert run.logged[1][1] == {"accuracy": 1.0}


def test_tensorboard(tmp_path):
    board = pytest.importorskip("torch.utils.tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model, writer = small(), board.SummaryWriter(str(tmp_path / "board"))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = adamantine.watch(
        model, optimizer, smooth, probes=[GradientDensity()], every=2, store=tmp_path, to=(writer,)
    )
    stepped(model, optimizer, fixed(3), watch)
    writer.close()
    read = EventAccumulator(str(tmp_path / "board"))
    read.Reload()
    assert [x.step for x in read.Scalars(DENSITY)] == [0, 2]
    assert [x.value for x in read.Scalars("loss")] == pytest.approx(watch.result.series("loss")[1].tolist())


@pytest.mark.filterwarnings("ignore")
def test_compiled_modules_are_measured_as_written(tmp_path):
    model, seen = small(), Seen()
    compiled = torch.compile(model, backend="eager")
    optimizer = torch.optim.SGD(compiled.parameters(), 0.1)
    watch = adamantine.watch(compiled, optimizer, smooth, probes=[Sharpness(3), seen], every=1, store=tmp_path)
    stepped(compiled, optimizer, fixed(2), watch)
    assert watch.unavailable == {}
    assert next(iter(seen.points[0].w)) == "0.weight"
    runs = []

    def backend(graph, inputs):
        return lambda *x: runs.append(1) or graph(*x)

    class Part(nn.Module):
        def forward(self, x):
            return x.sin()

    model = nn.Sequential(nn.Linear(6, 3), Part())
    model[1].compile(backend=backend)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = adamantine.watch(model, optimizer, smooth, probes=[Sharpness(3)], every=1, store=tmp_path)
    stepped(model, optimizer, fixed(2), watch)
    assert watch.unavailable == {}
    assert len(runs) == 2, "only in training"


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no torch.distributed here")
def test_of_two_processes_the_first_measures(tmp_path):
    from two_processes_watch import watched

    watched(str(tmp_path), free_port())
    (result,) = Store(tmp_path).results()
    assert result.series("sharpness")[0].tolist() == [0, 2, 4]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_presets_measure(tmp_path):
    model = small()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    watch = adamantine.watch(model, optimizer, smooth, fixed(3), presets.FULL, every=2, store=tmp_path)
    stepped(model, optimizer, fixed(3), watch)
    assert watch.unavailable == {}
    assert watch.notes == ()
    assert {*presets.NORMS} <= {*presets.DEFAULT}
