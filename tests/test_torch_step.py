"""Other people's optimizers as parts: equal to torch's own loop, resumable, arms of a comparison, refused in words."""

import math

import pytest
import torch
from problem import Problem

from adamantine import tree
from adamantine.checkpoint import load, save
from adamantine.comparison import Arm, Comparison
from adamantine.key import key_of
from adamantine.optim.torch_step import TorchStep
from adamantine.point import Point
from adamantine.run import Checkpoint, Run, Trained
from adamantine.tasks.quadratic import Quadratic

T = torch.optim
KINDS = [
    (T.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (T.AdamW, {"lr": 0.01, "betas": (0.8, 0.9), "amsgrad": True}),
    (T.Adam, {"lr": 0.01}),
    (T.NAdam, {"lr": 0.01}),
    (T.RAdam, {"lr": 0.01}),
    (T.Adagrad, {"lr": 0.01, "initial_accumulator_value": 0.1}),
    (T.Adadelta, {"lr": 1.0}),
    (T.Adafactor, {"lr": 0.01}),
    (T.RMSprop, {"lr": 0.01, "centered": True, "momentum": 0.5}),
    (T.Rprop, {"lr": 0.01}),
    (T.Adamax, {"lr": 0.01}),
    (T.ASGD, {"lr": 0.01, "t0": 5}),
    (T.LBFGS, {"lr": 0.3, "max_iter": 4, "history_size": 3}),
    (T.LBFGS, {"max_iter": 3, "line_search_fn": "strong_wolfe"}),
    (T.Muon, {"lr": 0.02}),
]


class Nested(torch.optim.SGD):
    """Keeps another optimizer."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)
        self.base = torch.optim.SGD(self.param_groups, lr=lr)


class Listed(torch.optim.SGD):
    """Keeps a set, and steps once with each tensor."""

    @torch.no_grad()
    def step(self, closure=None):
        """Nothing, for a tensor whose size it knows."""
        known = self.param_groups[0].setdefault("known", set())
        for x in self.param_groups[0]["params"]:
            if x.numel() not in known:
                x -= x.grad
            known.add(x.numel())


class Noisy(torch.optim.SGD):
    """Draws from the global generator, and counts on its own attribute."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)
        self.count = 0

    @torch.no_grad()
    def step(self, closure=None):
        """SGD with noise that falls with the count."""
        self.count += 1
        for group in self.param_groups:
            for x in group["params"]:
                x -= group["lr"] * (x.grad + torch.randn(x.shape) / self.count)


def start(kind):
    w = Problem().start()
    return {k: x for k, x in w.items() if x.ndim == 2} if kind is T.Muon else w


def gradients(w, t):
    problem = Problem()
    held = {k: x.detach().requires_grad_() for k, x in {**problem.start(), **w}.items()}
    loss = problem.losses(held, problem.batch(t)).mean()
    grads = torch.autograd.grad(loss, [held[k] for k in w])
    return loss.detach(), dict(zip(w, grads, strict=True))


def apart(a, b):
    return max(float((a[k] - b[k]).abs().max()) for k in a)


def torch_loop(kind, options, steps):
    weights = {k: torch.nn.Parameter(x.clone()) for k, x in start(kind).items()}
    optimizer = kind(list(weights.values()), **options)
    for t in range(steps):

        def closure(t=t):
            loss, grads = gradients(weights, t)
            for k, x in weights.items():
                x.grad = grads[k]
            return loss

        closure()
        optimizer.step(torch.enable_grad()(closure)) if kind is T.LBFGS else optimizer.step()
    return {k: x.detach() for k, x in weights.items()}


def part_loop(part, w, steps):
    s, problem = part.init(w), Problem()
    for t in range(steps):
        p = Point(problem, {**problem.start(), **w}, problem.batch(t), t, steps)
        u, s = part.update({k: p.grad[k] for k in w}, s, p)
        w = tree.add(w, u, -1.0)
    return w, s


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=lambda x: x.__name__ if isinstance(x, type) else "")
def test_follows_torchs_own_loop(kind, options):
    w, s = part_loop(TorchStep(kind, options), start(kind), 20)
    theirs = torch_loop(kind, options, 20)
    assert apart(w, theirs) < 1e-12
    if kind is not T.LBFGS:
        kept = sum(x.numel() * x.element_size() for _, x in tree.leaves(s))
        assert TorchStep(kind, options).state_bytes(w) == kept


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=lambda x: x.__name__ if isinstance(x, type) else "")
def test_is_a_value_whatever_the_imports(kind, options):
    part = TorchStep(kind, options)
    assert eval(repr(part), {"TorchStep": TorchStep}) == part
    assert hash(part) == hash(TorchStep(f"{kind.__module__}.{kind.__name__}", tuple(options.items())))


@pytest.mark.parametrize(
    ("kind", "options"),
    [*KINDS[1:2], KINDS[3], KINDS[12], KINDS[11], (Noisy, {})],
    ids=lambda x: x.__name__ if isinstance(x, type) else "",
)
def test_resumes_from_a_checkpoint_on_disk(tmp_path, kind, options):
    run = Run(Quadratic(), TorchStep(kind, options), steps=12, every=1)
    events = list(run.events(checkpoint_every=0))
    middle = [e for e in events if isinstance(e, Checkpoint)][6]
    save(tmp_path / "half", middle, [])
    found = load(tmp_path / "half")
    again = list(run.events(found[0]))
    whole = next(e for e in events if isinstance(e, Trained))
    assert all(torch.equal(x, again[-1].w[k]) for k, x in whole.w.items())


def test_global_draws_come_from_the_seed_and_leave_no_trace():
    part, w = TorchStep(Noisy), start(Noisy)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    here, _ = part_loop(part, w, 3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    there, _ = part_loop(part, w, 3)
    assert all(torch.equal(x, there[k]) for k, x in here.items())


def test_is_an_arm_of_a_comparison():
    arm = Arm("Adagrad", lambda rate, seed: TorchStep(torch.optim.Adagrad, {"lr": rate}), (0.1, 0.3, 1.0))
    comparison = Comparison("foreign", Quadratic(), (arm,), steps=5)
    runs = comparison.runs({})
    assert runs
    assert len({r.optimizer for r in runs}) == 3
    assert len({key_of(r) for r in runs}) == len(runs)
    assert all(math.isfinite(e.value) for e in runs[0].events() if hasattr(e, "value"))


def test_a_set_is_carried_as_data():
    part, w = TorchStep(Listed), start(Listed)
    once, s = part_loop(part, w, 1)
    assert apart(once, w) > 0
    assert s["groups"][0]["known"] == {"a set of": tuple(sorted({x.numel() for x in w.values()}))}
    assert apart(part_loop(part, w, 3)[0], once) == 0


def test_what_cannot_be_carried_is_refused_in_words():
    with pytest.raises(TypeError, match=r"keeps 'base', a SGD, which cannot be carried"):
        part_loop(TorchStep(Nested), start(Nested), 1)
    with pytest.raises(TypeError, match=r"is no torch.optim.Optimizer; give its class"):
        TorchStep(torch.nn.Linear)
    with pytest.raises(TypeError, match="option 'lr' is a Tensor"):
        TorchStep(torch.optim.SGD, {"lr": torch.tensor(0.1)})

    class Local(torch.optim.SGD):
        pass

    with pytest.raises(ValueError, match="no name outside the function"):
        TorchStep(Local)
