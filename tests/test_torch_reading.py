"""What torch's optimizers say of themselves in a running loop, against our compositions of the same algorithms."""

import pytest
import torch
from torch import nn

from adamantine import tree
from adamantine.for_torch import torch_optimizer
from adamantine.live import FIRST, SECOND
from adamantine.optim.adam import adam, adamw
from adamantine.optim.amsgrad import amsgrad
from adamantine.optim.decay import Decay
from adamantine.optim.eigenbasis import soap
from adamantine.optim.lion import lion
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Momentum
from adamantine.optim.nadam import nadam
from adamantine.optim.radam import radam
from adamantine.optim.rmsprop import rmsprop
from adamantine.optim.schedule import Linear
from adamantine.point import Point
from adamantine.probes.preconditioned_sharpness import PreconditionedSharpness
from adamantine.watching.torch_reading import TorchReading

PAIRS = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}, Decay(0.01) >> Momentum(0.9) >> Lr(0.1)),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, Momentum(0.9, nesterov=True) >> Lr(0.1)),
    ("Adam", {"lr": 0.01}, adam(0.01)),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1}, adamw(0.01, decay=0.1)),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.0, "amsgrad": True}, amsgrad(0.01)),
    ("NAdam", {"lr": 0.01}, nadam(0.01)),
    ("RAdam", {"lr": 0.01}, radam(0.01)),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9}, rmsprop(0.01, momentum=0.9)),
    ("RMSprop", {"lr": 0.01, "centered": True}, rmsprop(0.01, centered=True)),
]


class Data:
    """Regression by a network of one layer; what a Point asks of a task."""

    def __init__(self):
        rng = torch.Generator().manual_seed(0)
        self.x, self.y = (torch.randn(32, n, generator=rng, dtype=torch.float64) for n in (5, 3))

    def losses(self, w, batch):
        return (torch.tanh(self.x @ w["weight"].T + w["bias"]) - self.y).square().sum(1)


def layer():
    torch.manual_seed(0)
    return nn.Linear(5, 3, dtype=torch.float64)


def trained(build, steps):
    """The optimizer after some steps, and the point at which it took the last of them."""
    data, model = Data(), layer()
    optimizer = build(model)
    for step in range(steps):
        w = {k: x.detach().clone() for k, x in model.named_parameters()}
        p = Point(data, w, None, step, steps)
        for k, x in model.named_parameters():
            x.grad = p.grad[k].clone()
        optimizer.step()
    return optimizer, p, dict(model.named_parameters())


def ours(part, steps):
    """The part after the same steps."""
    data, w = Data(), {k: x.detach().clone() for k, x in layer().named_parameters()}
    s = part.init(w)
    for step in range(steps):
        p = Point(data, w, None, step, steps)
        u, s = part.update(p.grad, s, p)
        w = tree.add(w, u, -1.0)
    return p, s


def expanded(x, w):
    return {k: torch.as_tensor(y, dtype=torch.float64).expand_as(w[k]) for k, y in x.items()}


def close(a, b, w, near=1e-10):
    return all(torch.allclose(x, expanded(b, w)[k], rtol=near, atol=0) for k, x in expanded(a, w).items())


def label(x):
    return str(x)[:60]


def nearness(name):
    """torch keeps the product of NAdam's coefficients in single precision."""
    return 1e-5 if name == "NAdam" else 1e-10


@pytest.mark.parametrize(("name", "options", "part"), PAIRS, ids=label)
@pytest.mark.parametrize("steps", [1, 3, 40])  # RAdam begins without its second moment
def test_torch_and_ours_answer_alike(name, options, part, steps):
    optimizer, p, named = trained(lambda m: getattr(torch.optim, name)(m.parameters(), **options), steps)
    told = TorchReading(optimizer, named).response(None, p)
    q, s = ours(part, steps)
    same = part.response(s, q)
    whole = [{k: a.scale[k] * a.flip[k] for k in a.scale} for a in (told, same)]
    assert close(*whole, p.w, nearness(name))
    assert close(told.pull, same.pull, p.w, nearness(name))


@pytest.mark.parametrize(("name", "options", "part"), PAIRS, ids=label)
def test_torch_and_ours_hold_the_same_averages(name, options, part):
    optimizer, p, named = trained(lambda m: getattr(torch.optim, name)(m.parameters(), **options), 7)
    told = {m.kind: m for m in TorchReading(optimizer, named).moments(None, p.w)}
    q, s = ours(part, 7)
    # A momentum of scaled gradients is not told, and one of ours is not told of as a first moment.
    same = {m.kind: m for m in part.moments(s, q.w) if m.units in ((), ("Decay",)) and m.kind in (FIRST, SECOND)}
    assert same.keys() == told.keys()
    for kind, m in told.items():
        held = 1 - 0.99**7 if options.get("centered") else 1.0  # which ours leaves uncorrected
        assert close(m.value, {k: x / held for k, x in same[kind].value.items()}, p.w, nearness(name))
        assert m.t in (same[kind].t, 7)


@pytest.mark.parametrize("steps", [1, 30])
@pytest.mark.parametrize(
    "part", [adamw(0.01, decay=0.1, schedule=Linear()), soap(0.01, decay=0.1), Decay(0.1) >> Momentum(0.5) >> Lr(0.1)]
)
def test_ours_in_a_loop_answer_as_in_a_run(part, steps):
    """Under other names too, and with groups that answer differently."""
    optimizer, p, named = trained(lambda m: torch_optimizer(m, part, steps=steps), steps)
    q, s = ours(part, steps)
    said = [{f"x.{k}": x for k, x in a.items()} for a in (p.w, p.grad)]
    away = Point(p.task, said[0], None).given(said[1])
    v = {k: torch.randn(x.shape, dtype=x.dtype, generator=p.rng("v")) for k, x in p.w.items()}
    want = applied(part.response(s, q), v)
    for reading, here, turn in (
        (TorchReading(optimizer, named), p, ""),
        (TorchReading(optimizer, {f"x.{k}": x for k, x in named.items()}), away, "x."),
    ):
        got = applied(reading.response(None, here), {turn + k: x for k, x in v.items()})
        assert close({k: got[turn + k] for k in v}, want, v, 1e-8)
    assert {m.kind for m in TorchReading(optimizer, named).moments(None, p.w)} >= {FIRST}


def applied(told, v):
    """The step that answers a flip by `v`."""
    x = {k: told.scale[k] * told.flip[k] * y for k, y in told.turned(v).items()}
    x = x if told.basis is None else told.basis.back(x)
    return {k: y + told.pull[k] * v[k] for k, y in x.items()}


def test_groups_have_their_own_options_and_those_of_the_step_count():
    def build(m):
        return torch.optim.SGD([{"params": [m.weight], "lr": 0.1, "momentum": 0.5}, {"params": [m.bias]}], lr=0.3)

    optimizer, p, named = trained(build, 3)
    told = TorchReading(optimizer, named).response(None, p)
    assert told.scale == {"weight": 0.1, "bias": 0.3}
    assert told.flip == {"weight": 1 / 1.5, "bias": 1.0}
    then = [{k: x for k, x in g.items() if k != "params"} for g in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.7
    assert TorchReading(optimizer, named).response(then, p).scale == told.scale
    assert TorchReading(optimizer, named).response(None, p).scale == {"weight": 0.7, "bias": 0.7}


def test_a_tensor_that_was_never_stepped_does_not_move():
    model = layer()
    optimizer = torch.optim.Adam(model.parameters())
    model.weight.grad = torch.ones_like(model.weight)
    optimizer.step()
    named = dict(model.named_parameters())
    p = Point(Data(), {k: x.detach() for k, x in named.items()}, None)
    told = TorchReading(optimizer, named).response(None, p)
    assert told.scale["bias"] == 0.0
    assert bool((told.scale["weight"] > 0).all())


class Other(torch.optim.Optimizer):
    """Somebody's, who keeps averages under the usual names."""

    def __init__(self, params):
        super().__init__(params, {"betas": (0.5, 0.9), "lr": 0.1})

    def step(self, closure=None):
        for group in self.param_groups:
            for x in group["params"]:
                s = self.state[x]
                s.setdefault("step", torch.zeros(()))
                s.setdefault("exp_avg", torch.zeros_like(x))
                s["step"] += 1
                s["exp_avg"].lerp_(x.grad, 0.5)


@pytest.mark.parametrize("build", [lambda m: Other(m.parameters()), lambda m: torch.optim.Adadelta(m.parameters())])
def test_what_nobody_can_read_is_said_in_a_sentence(build):
    optimizer, p, named = trained(build, 3)
    reading = TorchReading(optimizer, named)
    assert reading.response(None, p) is None
    with pytest.raises(ValueError, match=r"not known here to be linear.*measure Sharpness or Directional"):
        PreconditionedSharpness()(p.after(p.w, None, reading))


def test_who_climbs_is_told_so():
    optimizer, p, named = trained(lambda m: torch.optim.SGD(m.parameters(), lr=1e-3, maximize=True), 2)
    with pytest.raises(ValueError, match="SGD climbs its loss, so that no linear threshold"):
        PreconditionedSharpness()(p.after(p.w, None, TorchReading(optimizer, named)))


def test_averages_under_the_usual_names_are_found_anywhere():
    optimizer, p, named = trained(lambda m: Other(m.parameters()), 1)
    (m,) = TorchReading(optimizer, named).moments(None, p.w)
    assert (m.kind, m.t) == (FIRST, 1)
    assert close(m.value, p.grad, p.w)


def test_signs_have_no_threshold():
    optimizer, p, named = trained(lambda m: torch_optimizer(m, lion(0.01)), 2)
    with pytest.raises(ValueError, match=r"answers by signs.*no linear threshold"):
        PreconditionedSharpness()(p.after(p.w, None, TorchReading(optimizer, named)))


def test_the_probe_measures_the_edge_in_anybodys_loop():
    """The largest eigenvalue of the dense `S^(1/2) H S^(1/2)` over `2 (1 + beta) / (1 - beta)`."""
    optimizer, p, named = trained(lambda m: torch.optim.Adam(m.parameters(), lr=0.05), 20)
    found = PreconditionedSharpness()(p.after(p.w, None, TorchReading(optimizer, named)))

    def loss(x):
        return p.task.losses(tree.like(x, p.w), None).mean()

    h = torch.autograd.functional.hessian(loss, tree.flat(p.w))
    v = torch.cat([optimizer.state[x]["exp_avg_sq"].reshape(-1) for x in named.values()])
    root = (0.05 / (1 - 0.9**20) / ((v / (1 - 0.999**20)).sqrt() + 1e-8)).sqrt()
    top = float(torch.linalg.eigvalsh(root[:, None] * h * root)[-1])
    assert found["preconditioned_sharpness"] == pytest.approx(top, rel=1e-3)
    assert found["stability_threshold"] == pytest.approx(38.0)
    assert found["edge"] == pytest.approx(top / 38, rel=1e-3)
