"""What people get wrong with `torch_optimizer`, `TorchStep` and `Until`: one sentence, where the thing is built."""

import copy
import io

import pytest
import torch
from torch import nn

from adamantine import torch_optimizer
from adamantine.listing import recipes
from adamantine.optim.adam import adamw
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Cosine
from adamantine.optim.torch_step import TorchStep
from adamantine.rated import rated
from adamantine.role import Is
from adamantine.route import Route
from adamantine.until import Until


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def build(**given):
    given = {"params": net(), "recipe": "adamw", "lr": 1e-3, **given}
    return torch_optimizer(given.pop("params"), given.pop("recipe"), **given)


def stepped(optimizer, model, steps=1, graph=False):
    for t in range(steps):

        def closure(t=t):
            optimizer.zero_grad()
            loss = model(X + t).square().mean()
            loss.backward(create_graph=graph)
            return loss

        optimizer.step(closure)
    return torch.cat([x.detach().flatten() for x in model.parameters()])


BIAS = {"params": "*bias"}
MISTAKES = {
    "lr negative": ({"lr": -1.0}, r"lr = -1.0 must be finite and not negative"),
    "lr nan": ({"lr": float("nan")}, r"lr = nan must be finite"),
    "lr str": ({"lr": "0.1"}, r"lr = '0.1' must be a number"),
    "lr none": ({"lr": None}, r"lr = None must be a number"),
    "lr bool": ({"lr": True}, r"lr = True must be a number"),
    "lr many": ({"lr": torch.ones(2)}, r"must be a number"),
    "lr of a part": ({"recipe": adamw(0.1), "lr": -1.0}, r"lr = -1.0 must be finite"),
    "lr of a group": ({"groups": [{**BIAS, "lr": "a"}]}, r"lr = 'a' must be a number"),
    "beta pair": ({"beta1": (0.9, 0.99)}, r"Ema: beta = \(0.9, 0.99\) must be a number"),
    "eps str": ({"eps": "1e-8"}, r"Rms: eps = '1e-8' must be a number"),
    "decay none": ({"decay": None}, r"Decay: rate = None must be a number"),
    "no decay": ({"recipe": "adam", "decay": 0.1}, r"adam takes no 'decay'; it takes lr, beta1, beta2, eps, schedule"),
    "far name": ({"recipe": "zzz"}, r"no recipe 'zzz'; see `adamantine list recipes`"),
    "torch's class": ({"recipe": torch.optim.AdamW}, r"recipe is torch's AdamW, but must be a Part"),
    "no module": ({"params": None}, r"parameters are None, but must be a module"),
    "a class": ({"params": nn.Linear}, r"must be a module or named parameters"),
    "torch's groups": ({"params": [{"params": list(net().parameters())}]}, r'groups=\[{"params": "\*bias"'),
    "meta": ({"params": nn.Linear(2, 2, device="meta")}, r"'weight' is on the meta device"),
    "groups dict": ({"groups": BIAS}, r"groups is a dict, but must be a list of dicts"),
    "groups int": ({"groups": 3}, r"groups is a int, but must be a list"),
    "group empty": ({"groups": [{"params": []}]}, r"a group has no parameters"),
    "group none": ({"groups": [{"params": None}]}, r"a group names a NoneType"),
    "schedule class": ({"schedule": Cosine, "steps": 9}, r"Lr: schedule is <class .*Cosine'>, but must map"),
    "schedule of one": ({"schedule": float, "steps": 9}, r"Lr: schedule is <class 'float'>"),
    "schedule arguments": ({"schedule": abs}, r"the schedule <built-in function abs> must map"),
    "schedule text": ({"schedule": "{} {}".format}, r"must map \(step, steps\) to a finite factor, but it gives '0"),
    "steps zero": ({"steps": 0}, r"steps = 0 must be a whole number of at least 1"),
    "steps float": ({"steps": 1e4}, r"steps = 10000.0 must be a whole number"),
    "steps str": ({"steps": "10"}, r"steps = '10' must be a whole number"),
    "seed": ({"seed": None}, r"seed = None must be a whole number or a string"),
    "roles": ({"recipe": "muon", "roles": "head"}, r"roles is 'head', but must map names to roles"),
    "half": (
        {"params": net().half()},
        r"the eps = 1e-08 of Rms is zero in torch.float16, so that a step may divide by zero",
    ),
    "half soap": ({"params": net().bfloat16(), "recipe": "soap"}, r"'0.weight' is torch.bfloat16, of too few bits"),
    "bits": ({"params": {"w": nn.Parameter(torch.ones(3).bfloat16())}, "lr": 1e-5}, r"lost to rounding in every"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_a_sentence(name):
    given, message = MISTAKES[name]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        build(**given)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_a_group_of_its_own_precision_is_judged_by_itself():
    params = {"a": nn.Parameter(torch.ones(2)), "b": nn.Parameter(torch.ones(2, dtype=torch.float16))}
    build(params=params, groups=[{"params": "b", "eps": 1e-4}])
    with pytest.raises(ValueError, match=r"zero in torch.float16"):
        build(params=params, eps=1e-4, groups=[{"params": "b", "eps": 1e-8}])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("lr", -1.0, "must be finite and not negative"),
        ("lr", float("nan"), "must be finite"),
        ("lr", "0.1", "must be a number"),
        ("lr", None, "must be a number"),
        ("weight_decay", 0.1, r"group\['weight_decay'\] was set, but of a running optimizer only group\['lr'\]"),
        ("betas", (0.9, 0.9), r"group\['betas'\] was set"),
    ],
)
def test_what_is_written_into_a_group_is_heard_or_refused(key, value, message):
    model = net()
    optimizer = build(params=model)
    before = stepped(optimizer, model)
    optimizer.param_groups[0][key] = value
    with pytest.raises((ValueError, TypeError), match=message):
        stepped(optimizer, model)
    assert torch.equal(before, torch.cat([x.detach().flatten() for x in model.parameters()]))


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"lr": 0.1}, 'must be a dict with "params"'),
        (3, 'must be a dict with "params"'),
        ({"params": [("q", nn.Parameter(torch.ones(2)))], "weight_decay": 0.1}, "adamw takes no 'weight_decay'"),
        ({"params": nn.Linear(2, 2).parameters()}, "came without one"),
    ],
)
def test_a_group_that_is_none_is_not_added(group, message):
    optimizer = build()
    with pytest.raises((ValueError, TypeError), match=message):
        optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


def test_a_closure_is_a_function():
    with pytest.raises(TypeError, match="step\\(\\) takes a closure, not 3"):
        build().step(3)


@pytest.mark.parametrize("key", ["step", "state", "param_groups"])
def test_a_damaged_checkpoint_is_refused(key):
    model = net()
    optimizer = build(params=model)
    stepped(optimizer, model)
    held = copy.deepcopy(optimizer.state_dict())
    for broken in ({k: x for k, x in held.items() if k != key}, {**held, key: "?"}):
        with pytest.raises(ValueError, match=f"the checkpoint is damaged, for its '{key}' is"):
            optimizer.load_state_dict(broken)
    optimizer.load_state_dict(held)


def test_a_state_that_is_not_finite_is_loaded_as_it_was():
    model = net()
    optimizer = build(params=model, recipe="prodigy")
    stepped(optimizer, model)
    for x in model.parameters():
        x.grad = torch.full_like(x, float("nan"))
    optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    build(params=net(), recipe="prodigy").load_state_dict(torch.load(file, weights_only=True))


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("name", recipes())
def test_a_rate_raised_from_zero_is_that_rate(name):
    """Also where other rates inside are a share of it."""
    part = recipes()[name](lr=0.01)
    assert leaves(rated(part, 0.01, 0.3)) == pytest.approx(leaves(recipes()[name](lr=0.3)))
    ends = []
    for start in (0.0, 0.01):
        model = net()
        optimizer = torch_optimizer(model, name, lr=start, steps=9)
        assert optimizer.param_groups[0]["lr"] == start
        optimizer.param_groups[0]["lr"] = 0.01
        ends.append(stepped(optimizer, model, 3, graph=name == "sophia"))
    assert torch.allclose(*ends, rtol=0, atol=1e-10)


def leaves(x):
    """All numbers in a composition."""
    if isinstance(x, (int, float)):
        return [float(x)]
    inside = x if isinstance(x, tuple) else vars(x).values() if hasattr(x, "__dataclass_fields__") else ()
    return [y for z in inside for y in leaves(z)]


WRONG_STEPS = {
    "class": (("torch.optim.AdmaW",), r"'torch.optim.AdmaW' cannot be imported"),
    "module": (("trch.AdamW",), r"'trch.AdamW' cannot be imported"),
    "bare name": (("AdamW",), r"give the full name of one that is installed"),
    "option": (("torch.optim.AdamW", {"learning_rate": 0.1}), r"AdamW takes no option 'learning_rate', but lr, betas"),
    "near": (("torch.optim.AdamW", {"decay": 0.1}), r"takes no option 'decay', but weight_decay"),
    "value": (("torch.optim.AdamW", {"lr": -1.0}), r"AdamW cannot be built with {'lr': -1.0} \(Invalid"),
    "options": (("torch.optim.AdamW", 0.1), r"options is 0.1, but must be a dict"),
    "gradients": (("torch.optim.SGD", {}, "a"), r"TorchStep: gradients = 'a' must be a number"),
}


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_a_torch_step_is_tried_where_it_is_built(name):
    given, message = WRONG_STEPS[name]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        TorchStep(*given)
    assert str(error.value).endswith(".")


def test_a_torch_step_needs_no_closure_that_its_optimizer_can_do_without():
    ends = []
    for ours in (True, False):
        model = net()
        if ours:
            optimizer = torch_optimizer(model, TorchStep("torch.optim.AdamW", {"lr": 1.0}) >> Lr(0.1))
        else:
            optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
        before = torch.cat([x.detach().flatten() for x in model.parameters()])
        model(X).square().mean().backward()
        optimizer.step()
        moved = torch.cat([x.detach().flatten() for x in model.parameters()]) - before
        ends.append(moved if ours else 0.1 * moved)
    assert torch.allclose(*ends, rtol=0, atol=1e-12)
    model = net()
    optimizer = torch_optimizer(model, TorchStep("torch.optim.LBFGS", {"lr": 1.0}) >> Lr(1.0))
    model(X).square().mean().backward()
    with pytest.raises(ValueError, match=r"call optimizer.step\(closure\)"):
        optimizer.step()


@pytest.mark.parametrize("fraction", ["a", None, float("nan"), 1.5])
def test_a_fraction_lies_between_nought_and_one(fraction):
    with pytest.raises(ValueError, match=r"Until: fraction = .* must lie in \[0, 1\]"):
        Until(fraction, Ema() >> Lr(0.1), Lr(0.1))


def test_a_route_with_its_arguments_swapped_is_refused():
    with pytest.raises(TypeError, match="give it first"):
        Route(adamw(1e-3), Is("head"), adamw(1e-3))
    with pytest.raises(TypeError, match="must be a Part"):
        Route(Is("head"), adamw(1e-3), None)
    with pytest.raises(ValueError, match="no role is given"):
        Is()
