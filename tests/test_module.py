"""Any module as a task: plain ones, with batch normalization and dropout, tied weights, Hugging Face's."""

import copy
from dataclasses import FrozenInstanceError

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adamantine import tree
from adamantine.key import key_of
from adamantine.optim.adam import adamw
from adamantine.optim.sgd import sgd
from adamantine.point import Point, stream
from adamantine.run import Diverged, Row, Run
from adamantine.tasks.module import ModuleTask


def net():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def noisy_net():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def squared(run, batch):
    x, y = batch
    return (run(x) - y).square().sum(1)


def regression(rng):
    def draw():
        x = torch.randn(16, 4, generator=rng)
        return x, x[:, :3].sin()

    return draw


def fit(run):
    x = torch.linspace(-1, 1, 40).reshape(10, 4)
    return {"held_out": float((run(x) - x[:, :3].sin()).square().mean())}


def point(task, seed=0):
    w = task.init(stream(seed, "init"))
    return Point(task, w, task.source(stream(seed, "data"))(w))


def test_a_builder_gives_every_seed_its_own_start_and_leaves_the_global_generator_alone():
    task = ModuleTask(net, squared, regression, fit)
    before = torch.random.get_rng_state()
    a, b, c = (task.init(stream(s, "init")) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["0.weight"], c["0.weight"])


def test_gradient_and_curvature_are_the_modules():
    task = ModuleTask(net, squared, regression)
    p = point(task)
    module = net()
    module.load_state_dict(p.w)
    x, y = p.batch["batch"]
    (module(x) - y).square().sum(1).mean().backward()
    assert all(torch.allclose(p.grad[k], q.grad) for k, q in module.named_parameters())
    v = {k: torch.randn(x.shape, generator=stream(0, k)) for k, x in p.w.items()}
    h = 1e-3
    there, here = (p.at(tree.add(p.w, v, s * h)).grad for s in (1, -1))
    numeric = tree.each(lambda a, b: (a - b) / (2 * h), there, here)
    assert float(tree.norm(tree.add(p.hvp(v), numeric, -1.0))) < 1e-2 * float(tree.norm(numeric))
    assert torch.allclose(p.each_grad()["0.weight"].mean(0), p.grad["0.weight"], atol=1e-6)


def test_batch_normalization_and_dropout_leave_no_trace():
    module = noisy_net()
    kept = copy.deepcopy(module.state_dict())
    task = ModuleTask(module, squared, regression, fit, splits=False)
    p = point(task)
    before = torch.random.get_rng_state()
    losses = [float(p.at(p.w).loss) for _ in range(3)]
    assert len(set(losses)) == 1, "the same batch has the same masks"
    q = Point(task, p.w, {**p.batch, "seed": p.batch["seed"] + 1})
    assert float(q.loss) != losses[0], "another batch has others"
    assert torch.equal(torch.random.get_rng_state(), before)
    task.score(p.w)
    assert all(torch.equal(x, kept[k]) for k, x in module.state_dict().items())
    assert all(torch.equal(x, kept[k]) for k, x in task.build().state_dict().items())
    with pytest.raises(ValueError, match="does not split"):
        p.each_grad()


def dropping_net():
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))


def test_per_example_gradients_of_a_module_with_dropout_have_the_masks_of_the_gradient():
    p = point(ModuleTask(dropping_net, squared, regression))
    each = p.at(p.w).each_grad()
    assert all(torch.allclose(each[k].mean(0), g, atol=1e-6) for k, g in p.grad.items())


def test_a_module_trains_and_runs_are_reproducible():
    run = Run(ModuleTask(net, squared, regression, fit), adamw(1e-2), steps=80)
    events = list(run.events())
    assert not any(isinstance(e, Diverged) for e in events)
    rows = [e for e in events if isinstance(e, Row)]
    assert rows[-1].name == "held_out"
    assert rows[-1].value < 0.1
    assert events == list(run.events())


def test_keys_know_functions_and_weights():
    a = Run(ModuleTask(net, squared, regression), sgd(0.1))
    assert key_of(a) == key_of(Run(ModuleTask(net, squared, regression), sgd(0.1)))
    module = net()
    b, c = (key_of(Run(ModuleTask(m, squared, regression), sgd(0.1))) for m in (module, copy.deepcopy(module)))
    assert b == c
    with torch.no_grad():
        module[0].weight[0, 0] += 1
    assert key_of(Run(ModuleTask(module, squared, regression), sgd(0.1))) != b
    with pytest.raises(ValueError, match="named at the top"):
        key_of(Run(ModuleTask(lambda: net(), squared, regression), sgd(0.1)))


def test_tied_and_frozen_weights():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 4, bias=False)
            self.b = nn.Linear(4, 4, bias=False)
            self.b.weight = self.a.weight
            self.c = nn.Linear(4, 3).requires_grad_(False)

        def forward(self, x):
            return self.c(self.b(self.a(x)))

    task = ModuleTask(Tied(), squared, regression)
    p = point(task)
    assert list(p.w) == ["a.weight"]
    module = task.build()
    x, y = p.batch["batch"]
    (module(x) - y).square().sum(1).mean().backward()
    assert torch.allclose(p.grad["a.weight"], module.a.weight.grad)


def tokens(rng):
    return lambda: (torch.randint(50, (4, 1), generator=rng) + torch.arange(12)) % 50


def next_token(run, batch):
    logits = run(input_ids=batch).logits[:, :-1]
    return F.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none").mean(1)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_hugging_face_models_from_a_config(family):
    transformers = pytest.importorskip("transformers")
    small = {"vocab_size": 50, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}
    if family == "gpt2":
        sizes = {"n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
        config = transformers.GPT2Config(vocab_size=50, **sizes)
        model = transformers.GPT2LMHeadModel(config)
    elif family == "llama":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**small, intermediate_size=32))
    else:
        config = transformers.BertConfig(**small, intermediate_size=32, max_position_embeddings=16)
        model = transformers.BertForMaskedLM(config)
    task = ModuleTask(model, next_token, tokens)
    p = point(task)
    assert set(p.w) == {k for k, _ in model.named_parameters()}
    assert float(p.loss) == pytest.approx(3.9, abs=0.5)  # log 50
    assert all(torch.isfinite(g).all() for g in p.grad.values())
    assert all(torch.isfinite(h).all() for h in p.hvp(p.grad).values())
    rows = [e.value for e in Run(task, adamw(1e-2), steps=30, every=1).events() if isinstance(e, Row)]
    assert rows[-1] < rows[0] - 0.3


def scalar(run, batch):
    return squared(run, batch).mean()


def frozen_net():
    return net().requires_grad_(False)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ModuleTask(3, squared, regression), "build"),
        (lambda: ModuleTask(dict, squared, regression).init(stream(0, "i")), "torch.nn.Module"),
        (lambda: ModuleTask(frozen_net, squared, regression).init(stream(0, "i")), "nothing can be trained"),
        (lambda: point(ModuleTask(net, scalar, regression)).loss, r"shape \[B\]"),
    ],
)
def test_mistakes_get_a_sentence(make, says):
    with pytest.raises((TypeError, ValueError), match=says):
        make()


def test_a_task_prints_as_its_call():
    task = ModuleTask(net, squared, regression, fit)
    assert repr(task) == "ModuleTask(build=net, loss=squared, batches=regression, evaluate=fit, splits=True)"
    assert eval(repr(task)) == task
    assert repr(ModuleTask(net(), squared, regression)).startswith("ModuleTask(build=Sequential(...), loss=squared,")


def test_a_task_is_a_value():
    with pytest.raises(FrozenInstanceError):
        ModuleTask(net, squared, regression).loss = None
