"""Against torch.optim in float64 over a hundred steps, transformers' schedules, and updates written out by hand."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from adamantine import tree
from adamantine.optim.adagrad_norm import AdagradNorm
from adamantine.optim.adam import adam, adamw
from adamantine.optim.clip import Clip
from adamantine.optim.lion import lion
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema, Momentum
from adamantine.optim.nadam import nadam
from adamantine.optim.rmsprop import rmsprop
from adamantine.optim.schedule import Constant, Cosine, Linear, Warmup, WarmupStableDecay
from adamantine.optim.second_moment import Rms
from adamantine.optim.sgd import sgd
from adamantine.optim.sign import signum
from adamantine.point import Point, stream

STEPS = 100


@dataclass(frozen=True)
class Net:
    """A small regression whose weights a torch module shares."""

    def init(self, rng):
        shapes = {"0.weight": (8, 5), "0.bias": (8,), "2.weight": (3, 8), "2.bias": (3,)}
        return {k: 0.5 * torch.randn(s, generator=rng, dtype=torch.float64) for k, s in shapes.items()}

    def source(self, rng):
        return lambda w: torch.randn(2, 16, 5, generator=rng, dtype=torch.float64)

    def losses(self, w, batch):
        x, y = batch[0], batch[1][:, :3].sin()
        h = torch.tanh(x @ w["0.weight"].T + w["0.bias"])
        return 5 * (h @ w["2.weight"].T + w["2.bias"] - y).square().sum(1)


def ours(part):
    task = Net()
    w = task.init(stream(0, "init"))
    s, draw = part.init(w), task.source(stream(0, "data"))
    for step in range(STEPS):
        p = Point(task, w, draw(w), step, STEPS)
        u, s = part.update(p.grad, s, p)
        w = tree.add(w, u, -1.0)
    return w


def theirs(make, clip=None):
    task = Net()
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    model.load_state_dict(task.init(stream(0, "init")))
    optimizer, draw = make(model.parameters()), task.source(stream(0, "data"))
    for _ in range(STEPS):
        optimizer.zero_grad()
        task.losses(dict(model.named_parameters()), draw(None)).mean().backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return {k: x.detach() for k, x in model.named_parameters()}


PAIRS = {
    "SGD": (sgd(0.01), lambda p: torch.optim.SGD(p, 0.01)),
    "heavy ball": (sgd(0.01, 0.9), lambda p: torch.optim.SGD(p, 0.01, 0.9)),
    "Nesterov": (sgd(0.01, 0.9, True), lambda p: torch.optim.SGD(p, 0.01, 0.9, nesterov=True)),
    "L2": (sgd(0.01, 0.9, decay=0.1), lambda p: torch.optim.SGD(p, 0.01, 0.9, weight_decay=0.1)),
    "RMSprop": (rmsprop(1e-3), lambda p: torch.optim.RMSprop(p, 1e-3)),
    "RMSprop, momentum": (rmsprop(1e-3, momentum=0.9), lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.9)),
    "RMSprop, centered": (rmsprop(1e-3, centered=True), lambda p: torch.optim.RMSprop(p, 1e-3, centered=True)),
    "Adam": (adam(1e-2), lambda p: torch.optim.Adam(p, 1e-2)),
    "Adam, betas": (adam(1e-2, 0.8, 0.9, 1e-4), lambda p: torch.optim.Adam(p, 1e-2, (0.8, 0.9), 1e-4)),
    "AdamW": (adamw(1e-2, decay=0.3), lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.3)),
    "NAdam": (nadam(1e-2), lambda p: torch.optim.NAdam(p, 1e-2)),
    "NAdamW": (
        nadam(1e-2, decay=0.1),
        lambda p: torch.optim.NAdam(p, 1e-2, weight_decay=0.1, decoupled_weight_decay=True),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_torch_agrees(name):
    part, make = PAIRS[name]
    # torch.optim.NAdam keeps its product of coefficients in the default dtype, whatever the weights' is.
    torch.set_default_dtype(torch.float64)
    try:
        a, b = ours(part), theirs(make)
    finally:
        torch.set_default_dtype(torch.float32)
    assert max((a[k] - b[k]).abs().max() for k in a) < 1e-10


def test_clipping_is_torchs():
    a = ours(Clip(0.5, adamw(1e-2)))
    b = theirs(lambda p: torch.optim.AdamW(p, 1e-2), clip=0.5)
    assert max((a[k] - b[k]).abs().max() for k in a) < 1e-10
    assert max((a[k] - ours(adamw(1e-2))[k]).abs().max() for k in a) > 1e-4, "the clipping never acted"


@pytest.mark.parametrize("amsgrad_free", [("Adam", adam(1e-2)), ("SGD", sgd(0.01, 0.9))], ids=lambda x: x[0])
def test_the_comparison_can_fail(amsgrad_free):
    _, part = amsgrad_free
    a, b = ours(part), theirs(lambda p: torch.optim.Adam(p, 1.1e-2))
    assert max((a[k] - b[k]).abs().max() for k in a) > 1e-4


def by_hand(update):
    task = Net()
    w = task.init(stream(0, "init"))
    m, draw = tree.each(torch.zeros_like, w), task.source(stream(0, "data"))
    for step in range(STEPS):
        g = Point(task, w, draw(w), step, STEPS).grad
        for k in w:
            w[k], m[k] = update(w[k], m[k], g[k])
    return w


def test_lion_as_published():
    def update(w, m, g):
        c = torch.sign(0.9 * m + 0.1 * g)
        return w - 1e-3 * (c + 0.2 * w), 0.99 * m + 0.01 * g

    a, b = ours(lion(1e-3, decay=0.2)), by_hand(update)
    assert max((a[k] - b[k]).abs().max() for k in a) < 1e-10


def test_signum_as_published():
    def update(w, m, g):
        m = 0.9 * m + 0.1 * g
        return w - 1e-3 * torch.sign(m), m

    a, b = ours(signum(1e-3)), by_hand(update)
    assert max((a[k] - b[k]).abs().max() for k in a) < 1e-10


def test_momentum_and_average_differ_by_a_factor():
    a = ours(Momentum(0.9) >> Lr(0.001))
    b = ours(Ema(0.9, debias=False) >> Lr(0.01))
    assert max((a[k] - b[k]).abs().max() for k in a) < 1e-10


@pytest.mark.parametrize("shape", ["full", "row", "column", "tensor", "all"])
def test_shared_second_moments_are_means_over_blocks(shape):
    g = {"m": torch.randn(4, 3, 2, generator=stream(0, "m")), "v": torch.randn(5, generator=stream(0, "v"))}
    p = Point(Net(), g, None).given(g)
    part = Rms(0.5, 0.0, shape)
    u, _ = part.update(g, part.init(g), p)
    everything = torch.cat([x.flatten() for x in g.values()]).square().mean()
    for k, x in g.items():
        v = x.square()
        if shape == "all":
            v = everything
        elif shape == "tensor" or (x.ndim == 1 and shape != "full"):
            v = v.mean()
        elif shape == "row":
            v = v.mean((1, 2), keepdim=True)
        elif shape == "column":
            v = v.mean(0, keepdim=True)
        assert torch.allclose(u[k], x / v.sqrt())


def test_adasgd_of_one_coordinate_is_adam():
    w = {"a": torch.tensor([2.0])}
    g = {"a": torch.tensor([0.3])}
    for shape in ("all", "tensor", "row", "column"):
        a, b = adamw(0.1), adamw(0.1, shape=shape)
        p = Point(Net(), w, None).given(g)
        assert torch.allclose(a.update(g, a.init(w), p)[0]["a"], b.update(g, b.init(w), p)[0]["a"])


@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_schedules_agree_with_transformers(steps):
    optimization = pytest.importorskip("transformers.optimization")
    warmup = steps // 10

    def factors(make, **named):
        model = nn.Parameter(torch.ones(1))
        scheduler = make(torch.optim.SGD([model], 1.0), num_warmup_steps=warmup, **named)
        return scheduler.lr_lambdas[0]

    cosine = factors(optimization.get_cosine_schedule_with_warmup, num_training_steps=steps)
    linear = factors(optimization.get_linear_schedule_with_warmup, num_training_steps=steps)
    for step in range(warmup, steps):
        assert Cosine(0.1)(step, steps) == pytest.approx(cosine(step), abs=1e-12)
        assert Linear(0.1)(step, steps) == pytest.approx(linear(step), abs=1e-12)
    for step in range(warmup):
        assert Cosine(0.1)(step, steps) == pytest.approx(cosine(step + 1), abs=1e-12)


def test_schedules_in_closed_form():
    assert [Constant()(s, 10) for s in (0, 9)] == [1, 1]
    assert [Warmup(4)(s, 10) for s in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    wsd = WarmupStableDecay(2, 4, 0.1)
    assert [round(wsd(s, 10), 6) for s in range(10)] == [0.5, 1, 1, 1, 1, 1, 1, 0.775, 0.55, 0.325]
    assert Cosine(0.0, 0.1)(50, 100) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)
    assert WarmupStableDecay(0, 4, shape="1-sqrt")(7, 10) == pytest.approx(1 - math.sqrt(0.25))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Ema(1.0), "beta"),
        (lambda: Rms(shape="diagonal"), "shape"),
        (lambda: Rms(eps=-1.0), "eps"),
        (lambda: Lr(math.nan), "size"),
        (lambda: Lr(0.1, 3), "schedule"),
        (lambda: Clip(0.0), "norm"),
        (lambda: Clip(1.0, "adam"), "Part"),
        (lambda: Cosine(1.5), "fraction"),
    ],
)
def test_impossible_hyperparameters_are_refused_in_a_sentence(make, says):
    with pytest.raises((ValueError, TypeError), match=says):
        make()


def test_adagrad_norm_is_adagrad_in_one_coordinate_and_one_scale_in_many():
    x = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    theirs_ = torch.optim.Adagrad([x], lr=0.3, initial_accumulator_value=0.25, eps=0.0)
    part, w = AdagradNorm(0.5) >> Lr(0.3), {"x": x.detach().clone()}
    s = part.init(w)
    for step in range(20):
        theirs_.zero_grad()
        torch.cosh(x).backward()
        theirs_.step()
        grad = {"x": torch.sinh(w["x"])}
        u, s = part.update(grad, s, Point(Net(), w, None, step, 20).given(grad))
        w = tree.add(w, u, -1.0)
        assert float(w["x"]) == pytest.approx(float(x.detach()), rel=1e-12)
    many = {k: torch.randn(3, 2, generator=stream(0, k), dtype=torch.float64) for k in "ab"}
    u, _ = AdagradNorm(2.0).update(many, AdagradNorm(2.0).init(many), Point(Net(), many, None, 0, 1))
    length = (4.0 + float(tree.norm(many)) ** 2) ** 0.5
    assert all(torch.allclose(u[k], many[k] / length) for k in many)
