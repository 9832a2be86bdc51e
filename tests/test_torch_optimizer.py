"""Any composition as a `torch.optim.Optimizer`: torch's own optimizers, schedulers, scalers and checkpoints agree."""

import copy
import inspect
import io
import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import adamantine
from adamantine import torch_optimizer
from adamantine.listing import recipes
from adamantine.named_state import nested, only, paths, split
from adamantine.optim.adam import adamw
from adamantine.optim.averaged import Averaged
from adamantine.optim.clip import Clip
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema, Momentum
from adamantine.optim.sam import sam
from adamantine.optim.schedule import Cosine, Warmup
from adamantine.optim.schedule_free import schedule_free_adamw
from adamantine.optim.sgd import sgd
from adamantine.optim.sophia import sophia
from adamantine.part import Part
from adamantine.tree import norm
from adamantine.until import Until

ROLES = {
    "emb.weight": "embedding",
    "up.weight": "up",
    "up.bias": "bias",
    "down.weight": "down",
    "norm.weight": "norm",
    "norm.bias": "bias",
    "head.weight": "head",
}


class Net(nn.Module):
    def __init__(self, dtype=torch.float64, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.emb = nn.Embedding(11, 6)
        self.up = nn.Linear(6, 8)
        self.down = nn.Linear(8, 6, bias=False)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 11, bias=False)
        self.to(dtype)

    def forward(self, x):
        y = self.emb(x)
        return self.head(self.norm(y + self.down(torch.tanh(self.up(y)))))


def batch(t):
    return torch.randint(11, (16,), generator=torch.Generator().manual_seed(t))


def loss_of(model, t):
    x = batch(t)
    return nn.functional.cross_entropy(model(x).float() if x.is_floating_point() else model(x), (x * 3) % 11)


def train(model, optimizer, first, last, closure=False, graph=False, scheduler=None):
    for t in range(first, last):

        def evaluate(t=t):
            optimizer.zero_grad()
            loss = loss_of(model, t)
            loss.backward(create_graph=graph)
            return loss

        if closure:
            optimizer.step(evaluate)
        else:
            evaluate()
            optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return weights(model)


def weights(model):
    return torch.cat([x.detach().flatten() for x in model.parameters()])


def distance(a, b):
    return float((a - b).abs().max())


def saved(optimizer):
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


TWINS = {
    "adamw": (lambda m: torch_optimizer(m, "adamw", lr=1e-2), lambda w: torch.optim.AdamW(w, 1e-2)),
    "decay": (
        lambda m: torch_optimizer(m, adamw, lr=1e-2, beta2=0.9, decay=0.3),
        lambda w: torch.optim.AdamW(w, 1e-2, betas=(0.9, 0.9), weight_decay=0.3),
    ),
    "sgd": (lambda m: torch_optimizer(m, sgd, lr=0.1), lambda w: torch.optim.SGD(w, 0.1)),
    "momentum": (
        lambda m: torch_optimizer(m, Momentum(0.9, nesterov=True) >> Lr(0.1)),
        lambda w: torch.optim.SGD(w, 0.1, momentum=0.9, nesterov=True),
    ),
    "nadam": (
        lambda m: torch_optimizer(m, "nadam", lr=1e-2, decay=0.0),
        lambda w: torch.optim.NAdam(w, 1e-2),
    ),
    "rmsprop": (
        lambda m: torch_optimizer(m, "rmsprop", lr=1e-2),
        lambda w: torch.optim.RMSprop(w, 1e-2),
    ),
}


@pytest.mark.parametrize("name", TWINS)
def test_steps_as_torch_does(name):
    ours, theirs = TWINS[name]
    a, b = Net(), Net()
    end = train(a, ours(a), 0, 50)
    # NAdam of torch keeps the product of its coefficients in float32.
    assert distance(end, train(b, theirs(b.parameters()), 0, 50)) < (1e-8 if name == "nadam" else 1e-10)
    assert distance(end, weights(Net())) > 1e-3


SCHEDULERS = {
    "step": lambda o: lr_scheduler.StepLR(o, 5, 0.5),
    "multi": lambda o: lr_scheduler.MultiStepLR(o, [3, 9], 0.3),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.9),
    "constant": lambda o: lr_scheduler.ConstantLR(o, 0.3, 4),
    "linear": lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 6),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 20),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 20),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 7),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.05, 20, cycle_momentum=False),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.01, 4, cycle_momentum=False),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, 1.0, 4), lr_scheduler.ExponentialLR(o, 0.8)], [4]
    ),
    "averaging": lambda o: torch.optim.swa_utils.SWALR(o, 0.001, 5),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_of_torch_change_the_rate(name):
    a, b = Net(), Net()
    ours, theirs = torch_optimizer(a, "adamw", lr=1e-2), torch.optim.AdamW(b.parameters(), 1e-2)
    end = train(a, ours, 0, 15, scheduler=SCHEDULERS[name](ours))
    assert distance(end, train(b, theirs, 0, 15, scheduler=SCHEDULERS[name](theirs))) < 1e-10
    assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])


def test_a_plateau_lowers_the_rate():
    model = Net()
    optimizer = torch_optimizer(model, "adamw", lr=1e-2)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.1)
    for _ in range(3):
        plateau.step(1.0)
    assert optimizer.param_groups[0]["lr"] < 1e-3


def test_a_rate_reaches_every_part_that_reads_it_and_may_be_a_tensor():
    ends = []
    for rate in (0.005, torch.tensor(0.005, dtype=torch.float64)):
        model = Net()
        optimizer = torch_optimizer(model, schedule_free_adamw, lr=0.01)
        optimizer.param_groups[0]["lr"] = rate
        ends.append(train(model, optimizer, 0, 8))
    model = Net()
    ends.append(train(model, torch_optimizer(model, schedule_free_adamw, lr=0.005), 0, 8))
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


def test_groups_have_compositions_of_their_own():
    a, b = Net(), Net()
    ours = torch_optimizer(
        a,
        "adamw",
        lr=1e-2,
        decay=0.1,
        groups=[
            {"params": ["*.bias", a.norm.weight], "decay": 0.0},
            {"params": "emb.weight", "recipe": sgd, "lr": 0.5},
        ],
    )
    flat = [b.norm.weight, b.norm.bias, b.up.bias]
    theirs = [
        torch.optim.AdamW(
            [
                {"params": [b.up.weight, b.down.weight, b.head.weight]},
                {"params": flat, "weight_decay": 0.0},
            ],
            1e-2,
            weight_decay=0.1,
        ),
        torch.optim.SGD([b.emb.weight], 0.5),
    ]
    for t in range(10):
        b.zero_grad()
        loss_of(b, t).backward()
        for x in theirs:
            x.step()
    assert distance(train(a, ours, 0, 10), weights(b)) < 1e-10
    assert [g["lr"] for g in ours.param_groups] == [1e-2, 1e-2, 0.5]


def test_a_group_can_be_added():
    a, b = Net(), Net()
    ours = torch_optimizer([("up", a.up.weight)], "adamw", lr=1e-2)
    theirs = torch.optim.AdamW([b.up.weight], 1e-2)
    train(a, ours, 0, 3)
    train(b, theirs, 0, 3)
    ours.add_param_group({"params": [("head", a.head.weight)], "lr": 1e-3})
    theirs.add_param_group({"params": [b.head.weight], "lr": 1e-3})
    assert distance(train(a, ours, 3, 9), train(b, theirs, 3, 9)) < 1e-10
    with pytest.raises(ValueError, match=r"'up' is in a group already"):
        ours.add_param_group({"params": [("up", a.up.weight)]})


def test_parameters_without_gradient_sit_out():
    a, b = Net(), Net()
    ours, theirs = torch_optimizer(a, "adamw", lr=1e-2), torch.optim.AdamW(b.parameters(), 1e-2)
    for t in range(12):
        for m, o in ((a, ours), (b, theirs)):
            o.zero_grad()
            loss_of(m, t).backward()
            if t % 3 == 1:
                m.up.weight.grad = None
            if t < 4:
                m.emb.weight.grad = None
            o.step()
    assert distance(weights(a), weights(b)) < 1e-10
    states = ours.state_dict()["state"]
    steps = {name: next(x for x in s.values() if isinstance(x, int)) for name, s in states.items()}
    assert (steps["up.weight"], steps["emb.weight"], steps["head.weight"]) == (8, 8, 12)


def test_all_absent_is_no_step():
    model = Net()
    before, optimizer = weights(model), torch_optimizer(model, "adamw", lr=1e-2)
    optimizer.step()
    assert torch.equal(before, weights(model))
    assert optimizer.state_dict()["step"] == 0


def test_what_looks_at_all_tensors_leaves_out_absent_ones():
    a, b = Net(), Net()
    ours = torch_optimizer(a, Clip(0.1, Momentum(0.9) >> Lr(0.1)))
    theirs = torch.optim.SGD(b.parameters(), 0.1, momentum=0.9)
    for t in range(6):
        for m, o in ((a, ours), (b, theirs)):
            o.zero_grad()
            loss_of(m, t).backward()
            if t % 3 < 2:
                m.up.weight.grad = None
            if m is b:
                nn.utils.clip_grad_norm_(b.parameters(), 0.1)
            o.step()
    assert distance(weights(a), weights(b)) < 1e-12


def test_gradients_are_never_touched():
    model = Net()
    for recipe in (adamw, sam, "muon"):
        optimizer = torch_optimizer(model, recipe, lr=1e-2, roles=ROLES if recipe == "muon" else None)
        for t in range(3):
            optimizer.zero_grad()
            loss_of(model, t).backward()
            before = [(x.grad, x.grad.clone()) for x in model.parameters()]

            def closure(t=t):
                model.zero_grad()
                loss = loss_of(model, t)
                loss.backward()
                return loss

            optimizer.step(closure if recipe is sam else None)
            if recipe is not sam:
                assert all(
                    x.grad is g and torch.equal(g, c) for x, (g, c) in zip(model.parameters(), before, strict=True)
                )


def everything():
    return [n for n, f in recipes().items() if "lr" in inspect.signature(f).parameters]


def usual(name):
    default = inspect.signature(recipes()[name]).parameters["lr"].default
    return {} if default is not inspect.Parameter.empty else {"lr": 1e-2}


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("name", everything())
def test_every_recipe_resumes_exactly(name):
    graph = "sophia" in name
    model = Net(torch.float32)
    optimizer = torch_optimizer(model, name, steps=12, roles=ROLES, **usual(name))
    train(model, optimizer, 0, 4, closure=True, graph=graph)
    other = copy.deepcopy(model)
    resumed = torch_optimizer(other, name, steps=12, roles=ROLES, **usual(name))
    resumed.load_state_dict(saved(optimizer))
    twin_model, twin = copy.deepcopy((model, optimizer))
    end = train(model, optimizer, 4, 9, closure=True, graph=graph)
    assert torch.isfinite(end).all()
    assert torch.equal(end, train(other, resumed, 4, 9, closure=True, graph=graph))
    assert torch.equal(end, train(twin_model, twin, 4, 9, closure=True, graph=graph))
    with optimizer.evaluating():
        pass
    assert torch.equal(end, weights(model))


def test_moments_follow_names_into_other_groups_and_orders():
    a = Net()
    first = torch_optimizer(a, "adamw", lr=1e-2)
    train(a, first, 0, 5)
    b = copy.deepcopy(a)
    reordered = [*b.named_parameters()][::-1]
    second = torch_optimizer(reordered, "adamw", lr=1e-2, groups=[{"params": "up.*"}])
    second.load_state_dict(saved(first))
    assert torch.equal(train(a, first, 5, 9), train(b, second, 5, 9))


def test_a_pickled_optimizer_goes_on():
    model = Net()
    optimizer = torch_optimizer(model, "adamw", lr=1e-2)
    lr_scheduler.StepLR(optimizer, 5)
    train(model, optimizer, 0, 3)
    twin_model, twin = pickle.loads(pickle.dumps((model, optimizer)))
    assert torch.equal(train(model, optimizer, 3, 6), train(twin_model, twin, 3, 6))


def test_foreign_checkpoints_are_refused():
    model = Net()
    optimizer = torch_optimizer(model, "adamw", lr=1e-2)
    train(model, optimizer, 0, 2)
    good = saved(optimizer)
    with pytest.raises(ValueError, match=r"is stepped by Lr here, and the checkpoint is of Ema"):
        torch_optimizer(Net(), sgd, lr=0.1).load_state_dict(good)
    with pytest.raises(ValueError, match=r"it lacks 'weight', 'bias' and has besides 'emb.weight'"):
        torch_optimizer(nn.Linear(2, 2), "adamw", lr=0.1).load_state_dict(good)
    with pytest.raises(ValueError, match=r"has schema 7, and this version reads 1"):
        optimizer.load_state_dict({**good, "schema": 7})
    with pytest.raises(ValueError, match=r"is no checkpoint of an adamantine optimizer"):
        optimizer.load_state_dict(torch.optim.AdamW(model.parameters()).state_dict())
    wider = Net()
    wider.up = nn.Linear(6, 9).double()
    with pytest.raises(ValueError, match=r"'up.weight' has shape \(9, 6\) here and \(8, 6\) in the checkpoint"):
        torch_optimizer(wider, "adamw", lr=0.1).load_state_dict(good)
    torch_optimizer(Net(), "adamw", lr=0.5, decay=0.3, beta1=0.7).load_state_dict(good)


def test_hooks_of_torch_are_called():
    model, seen = Net(), []
    optimizer = torch_optimizer(model, "adamw", lr=1e-2)
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    optimizer.register_state_dict_post_hook(lambda o, d: {**d, "extra": 1})
    optimizer.register_load_state_dict_pre_hook(lambda o, d: seen.append("load"))
    train(model, optimizer, 0, 1)
    assert optimizer.state_dict()["extra"] == 1
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == ["before", "after", "load"]


def test_a_closure_is_evaluated_elsewhere_and_the_weights_come_back():
    """SAM by hand: the same weights after ten steps."""
    a, b = Net(), Net()
    ours = torch_optimizer(a, sam, lr=0.1, rho=0.1, beta=0.0)
    end = train(a, ours, 0, 10, closure=True)
    for t in range(10):
        b.zero_grad()
        loss_of(b, t).backward()
        params = list(b.parameters())
        start = [x.detach().clone() for x in params]
        length = norm({str(i): x.grad for i, x in enumerate(params)})
        with torch.no_grad():
            for x in params:
                x.add_(0.1 / (length + 1e-12) * x.grad)
        b.zero_grad()
        loss_of(b, t).backward()
        with torch.no_grad():
            for x, w in zip(params, start, strict=True):
                x.copy_(w - 0.1 * x.grad)
    assert distance(end, weights(b)) < 1e-12


def test_gradients_elsewhere_do_not_see_half_a_step():
    a, b = Net(), Net()
    groups = [{"params": "up.*"}]
    rho = 1e-9  # the neighbourhood of each group vanishes: what is left is plain descent
    one = train(a, torch_optimizer(a, sam, lr=0.1, rho=rho, beta=0.0, groups=groups), 0, 5, closure=True)
    two = train(b, torch.optim.SGD(b.parameters(), 0.1), 0, 5)
    assert distance(one, two) < 1e-6


def test_curvature_needs_the_graph():
    model = Net()
    optimizer = torch_optimizer(model, sophia, lr=1e-3)
    with pytest.raises(ValueError, match=r"create_graph=True"):
        train(model, optimizer, 0, 1, closure=True)
    with pytest.raises(ValueError, match=r"call optimizer.step\(closure\)"):
        train(model, torch_optimizer(model, sophia, lr=1e-3), 0, 1)


@pytest.mark.filterwarnings("ignore:Using backward")
def test_curvature_through_a_closure_is_that_of_the_loss():
    """Sophia's first state against the Hessian-vector product computed apart, also behind a part that rescales."""
    from adamantine.optim.random_signs import signs
    from adamantine.optim.sophia import Sophia
    from adamantine.point import Point

    for part in (Sophia(0.5) >> Lr(1e-3), Clip(1e3, Sophia(0.5) >> Lr(1e-3))):
        model = Net()
        params = dict(model.named_parameters())
        p = Point(None, params, None, 0, 1, 0)
        v = {k: signs(x, p, f"sophia/{k}") for k, x in params.items()}
        grads = torch.autograd.grad(loss_of(model, 0), list(params.values()), create_graph=True)
        product = torch.autograd.grad(grads, list(params.values()), list(v.values()))
        optimizer = torch_optimizer(model, part)
        train(model, optimizer, 0, 1, closure=True, graph=True)
        for (k, sign), h in zip(v.items(), product, strict=True):
            found = next(x for path, x in optimizer.state_dict()["state"][k].items() if path.endswith(":@"))
            assert distance(found, 0.5 * sign * h) < 1e-10


def test_the_scaler_skips_what_is_not_finite():
    model = Net(torch.float32)
    optimizer, scaler = torch_optimizer(model, "adamw", lr=1e-2), torch.amp.GradScaler("cpu", init_scale=4.0)
    plain = Net(torch.float32)
    twin = torch_optimizer(plain, "adamw", lr=1e-2)
    for t in range(4):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, t)).backward()
        if t == 1:
            model.up.weight.grad[0, 0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
        if t != 1:
            train(plain, twin, t, t + 1)
    assert distance(weights(model), weights(plain)) < 1e-6
    assert optimizer.state_dict()["step"] == 3


def test_gradients_accumulate():
    a, b = Net(), Net()
    optimizer = torch_optimizer(a, "adamw", lr=1e-2)
    (loss_of(a, 0) / 2).backward()
    (loss_of(a, 1) / 2).backward()
    optimizer.step()
    ((loss_of(b, 0) + loss_of(b, 1)) / 2).backward()
    torch.optim.AdamW(b.parameters(), 1e-2).step()
    assert distance(weights(a), weights(b)) < 1e-10


@pytest.mark.parametrize("recipe", ["adamw", "lion", "soap", "muon", "signum"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_and_odd_shapes(recipe, dtype):
    if dtype != torch.float32 and recipe == "soap":
        pytest.skip("refused: too few bits for eigenvectors")
    torch.manual_seed(0)
    params = {
        "m": nn.Parameter(torch.randn(6, 4).to(dtype)),
        "t": nn.Parameter(torch.randn(6, 4).to(dtype).T),
        "scalar": nn.Parameter(torch.tensor(0.7).to(dtype)),
        "none": nn.Parameter(torch.empty(0, 3).to(dtype)),
        "v": nn.Parameter(torch.randn(5).to(dtype)),
    }
    roles = {"m": "up", "t": "down", "scalar": "gain", "none": "up", "v": "bias"}
    given = {"eps": 1e-4} if dtype == torch.float16 and recipe in ("adamw", "muon") else {}
    optimizer = torch_optimizer(params, recipe, lr=0.05, roles=roles, **given)
    before = {k: x.detach().clone() for k, x in params.items()}
    for _ in range(5):
        optimizer.zero_grad()
        sum(x.float().square().sum() for x in params.values()).backward()
        params["m"].grad = params["m"].grad.T.contiguous().T  # laid out otherwise than the weights
        optimizer.step()
    for x in params.values():
        assert x.dtype == dtype
        assert torch.isfinite(x).all()
    assert all((params[k].abs() < before[k].abs()).float().mean() > 0.5 for k in ("m", "t"))


def test_evaluating_swaps_the_average_in_and_out():
    model = Net()
    optimizer = torch_optimizer(model, Averaged(adamw(1e-2), None))
    seen = []
    for t in range(5):
        train(model, optimizer, t, t + 1)
        seen.append(weights(model))
    with optimizer.evaluating():
        assert distance(weights(model), torch.stack(seen).mean(0)) < 1e-12
        with pytest.raises(RuntimeError, match=r"inside evaluating"):
            optimizer.step()
    assert torch.equal(weights(model), seen[-1])


def test_roles_come_from_the_module_or_from_the_user():
    model = Net()
    train(model, torch_optimizer(model, "muon", lr=1e-2, roles={"up.weight": "up", "down.weight": "down"}), 0, 2)
    with pytest.raises(ValueError, match=r"depends on the roles of parameters"):
        torch_optimizer(model.named_parameters(), "muon", lr=1e-2)
    with pytest.raises(ValueError, match=r"no role is given for 'head.weight'"):
        torch_optimizer(
            model.named_parameters(), "muon", lr=1e-2, roles={k: x for k, x in ROLES.items() if k != "head.weight"}
        )


@dataclass(frozen=True)
class Matrices(Part):
    """A part that cannot begin on a vector."""

    def init(self, w):
        for k, x in w.items():
            if x.ndim < 2:
                raise ValueError(f"Matrices: {k!r} is no matrix; route it elsewhere.")
        return ()


def refusals():
    weight = nn.Parameter(torch.ones(2, 2))
    integer = nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False)
    turning = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    pair = {"a": weight, "b": nn.Parameter(torch.ones(2))}
    return {
        "no parameters": ([], {}, "list of parameters is empty"),
        "no names": ([weight], {}, "give the module, or model.named_parameters"),
        "complex": ({"c": turning}, {}, "'c' is complex"),
        "integer": ({"n": integer}, {}, "'n' is integer"),
        "no tensor": ({"n": 3.0}, {}, "'n' is a float, but must be a tensor"),
        "computed": ({"n": weight * 2}, {}, "was computed from other tensors"),
        "twice": ([("a", weight), ("a", pair["b"])], {}, "the name 'a' comes twice"),
        "two names": ([("a", weight), ("b", weight)], {}, "'b' and 'a' are the same parameter"),
        "two groups": (pair, {"groups": [{"params": "a"}, {"params": ["?"]}]}, "'a' is in groups 0 and 1"),
        "no such parameter": (pair, {"groups": [{"params": "c*"}]}, "a group names 'c\\*'"),
        "no params": (pair, {"groups": [{"lr": 1.0}]}, 'must be a dict with "params"'),
        "misspelt": (pair, {"recipe": "adamv"}, "there is no recipe 'adamv'; nearest: adam"),
        "unknown word": (pair, {"weight_decay": 0.1}, "adamw takes no 'weight_decay'; nearest: decay"),
        "no rate": (pair, {"lr": None}, "adamw needs 'lr'"),
        "negative": (pair, {"lr": -1.0}, "must be finite and not negative"),
        "beta": (pair, {"beta1": 1.0}, "beta = 1.0 must lie in \\[0, 1\\)"),
        "tiny": (pair, {"lr": 1e-12}, "lost to rounding in every weight"),
        "no Lr": (pair, {"recipe": Ema(), "lr": None}, "holds no Lr"),
        "built": (pair, {"recipe": adamw(0.1), "lr": None, "decay": 0.1}, "is built already"),
        "no recipe": (pair, {"recipe": 3}, "must be a Part, a recipe such as adamw"),
        "steps": (pair, {"schedule": Cosine()}, "how many steps the training has"),
        "matrices": (pair, {"recipe": Matrices() >> Lr(0.1), "lr": None}, "'b' is no matrix"),
    }


@pytest.mark.parametrize("name", refusals())
def test_what_cannot_work_is_refused_in_a_sentence(name):
    params, given, message = refusals()[name]
    given = {"recipe": "adamw", "lr": 1e-3, **given}
    given = {k: x for k, x in given.items() if x is not None}
    with pytest.raises((ValueError, TypeError), match=message) as error:
        torch_optimizer(params, given.pop("recipe"), **given)
    assert str(error.value).strip().endswith(".")


def test_schedules_inside():
    model, other = Net(), Net()
    end = train(model, torch_optimizer(model, adamw, lr=1e-2, schedule=Cosine(warmup=0), steps=10), 0, 10)
    plain = torch.optim.AdamW(other.parameters(), 1e-2)
    cosine = lr_scheduler.CosineAnnealingLR(plain, 10)
    assert distance(end, train(other, plain, 0, 10, scheduler=cosine)) < 1e-10
    torch_optimizer(model, adamw, lr=1e-2, schedule=Warmup(3))  # needs no number of steps


@pytest.mark.parametrize("part", [Until(0.5, adamw(0.1), sgd(0.1)), Averaged(adamw(0.1), None, start=0.5)])
def test_switches_need_the_number_of_steps(part):
    with pytest.raises(ValueError, match="how many steps the training has"):
        torch_optimizer(Net(), part)
    train(model := Net(), torch_optimizer(model, part, steps=4), 0, 4)
    torch_optimizer(Net(), Averaged(adamw(0.1), None))


def test_a_step_returns_what_the_closure_did():
    model = Net()
    optimizer, loss = torch_optimizer(model, "adamw", lr=1e-2), loss_of(model, 0)
    assert optimizer.step(lambda: loss) is loss
    assert optimizer.step() is None
    assert "lr: 0.01" in repr(optimizer)


def test_frozen_parameters_stay():
    model = Net()
    model.emb.weight.requires_grad_(False)
    before = model.emb.weight.clone()
    optimizer = torch_optimizer(model, Clip(1.0, adamw(1e-2)))
    train(model, optimizer, 0, 3)
    assert torch.equal(before, model.emb.weight)
    assert "emb.weight" not in optimizer.state_dict()["state"]
    model.emb.weight.requires_grad_(True)
    train(model, optimizer, 3, 5)
    assert not torch.equal(before, model.emb.weight)


def test_sparse_gradients_are_refused():
    model = nn.Embedding(5, 2, sparse=True)
    optimizer = torch_optimizer(model, "adamw", lr=1e-2)
    model(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match=r"gradient of 'weight' is sparse"):
        optimizer.step()


def test_state_is_cut_by_name_and_written_as_paths():
    held = torch.zeros(2)
    s = (3, {"a": held, "b": held + 1, "b/query": held}, [], {"x": (1.0, {"b": held})}, ((), None))
    names = dict.fromkeys(["a", "b"])
    parts = split(s, names)
    assert parts["a"] == (3, {"a": held}, [], {"x": (1.0, {})}, ((), None))
    for name in names:
        assert str(nested(paths(parts[name], name), name)) == str(parts[name])
        assert str(only(s, {name}, names)) == str(parts[name])
    assert "1/:@~1query" in paths(parts["b"], "b")


def test_the_package_gives_it():
    assert adamantine.torch_optimizer is torch_optimizer
    assert isinstance(torch_optimizer(Net(), "adamw", lr=1e-3), torch.optim.Optimizer)
    assert isinstance(adamw(0.1), Part)
