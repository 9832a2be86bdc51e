"""Per-example gradients, norms and inner products against one backward pass an example, in float64."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from problem import Problem
from test_contract_tasks import point as task_point
from test_contract_tasks import tasks
from torch import nn

from adamantine import tree
from adamantine.data.glyphs import Glyphs
from adamantine.nets.decoder import Decoder
from adamantine.nets.dit import Dit
from adamantine.nets.resnet import ResNet
from adamantine.nets.unet import Unet
from adamantine.nets.vit import Vit
from adamantine.per_example.layout import Layout, fitting, layouts
from adamantine.per_example.products import Gathered, gram, squares
from adamantine.per_example.terms import Dense, Lookup, Outer
from adamantine.per_example.trial import numbers
from adamantine.pieces import Pieces
from adamantine.point import Point, stream
from adamantine.tasks.generation import Generation
from adamantine.tasks.images import Images
from adamantine.tasks.language import Language
from adamantine.tasks.module import ModuleTask

CLOSE = 1e-9


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=stream(seed, f"normal/{shape}"), dtype=torch.float64)


def labels(n, classes=3):
    return torch.randint(classes, (n,), generator=stream(0, "labels"))


def entropy(run, batch):
    return F.cross_entropy(run(batch[0]).flatten(1), batch[1], reduction="none")


def next_token(run, ids):
    logits = run(input_ids=ids).logits[:, :-1]
    return F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").mean(1)


def module_point(build, batch, loss=entropy, dtype=torch.float64, **named):
    task = ModuleTask(build, loss, lambda rng: lambda: batch, **named)
    w = tree.place(task.init(stream(0, "init")), "cpu", dtype)
    # What starts at zero or one would hide mistakes.
    w = {k: x + 0.1 * torch.randn(x.shape, generator=stream(1, k), dtype=dtype) for k, x in w.items()}
    return Point(task, w, tree.place(task.source(stream(0, "data"))(w), "cpu", dtype))


def one_by_one(p):
    """The gradient of every loss, each by a backward pass of its own through the batch's graph."""
    w = {k: x.detach().requires_grad_() for k, x in p.w.items()}
    out = {k: [] for k in w}
    for loss in p.task.losses(w, p.batch):
        found = torch.autograd.grad(loss, list(w.values()), retain_graph=True, allow_unused=True)
        for k, g in zip(w, found, strict=True):
            out[k].append(torch.zeros_like(w[k]) if g is None else g)
    return {k: torch.stack(x) for k, x in out.items()}


def check(p, close=CLOSE, **served):
    """All three questions, asked twice: the second time from what was remembered. `served` are those not by hooks."""
    truth = one_by_one(p)
    scale = max(float(x.norm()) for x in truth.values())
    whole = sum(x.reshape(len(x), -1) @ x.reshape(len(x), -1).T for x in truth.values())
    for known in (False, True, False):
        q, r, s = p.at(p.w), p.at(p.w), p.at(p.w)
        if known:
            _ = q.grad, r.grad, s.grad
        each, norms = q.each_grad(), r.each_grad_norm()
        for k, x in truth.items():
            near = partial(torch.testing.assert_close, rtol=close, atol=close * scale, check_dtype=False)
            near(each[k], x, msg=lambda text, k=k: f"{k}: {text}")
            assert each[k].dtype == p.w[k].dtype
            near(norms[k], x.reshape(len(x), -1).norm(dim=1), msg=lambda text, k=k: f"norm of {k}: {text}")
            for one in (q, r, s):
                near(one.grad[k], x.mean(0), msg=lambda text, k=k: f"gradient of {k}: {text}")
        torch.testing.assert_close(s.each_gram(), whole, rtol=close, atol=close * scale**2, check_dtype=False)
        by = {k: how for k, how in q.memo["served"].items() if how != "hooks"}
        assert by == {k.replace("__", "."): how for k, how in served.items()}


# --- every task and network of ours -----------------------------------------------------------------------------


@pytest.mark.parametrize("task", [t for t in tasks() if getattr(t, "splits", True)], ids=lambda t: type(t).__name__)
def test_every_task(task):
    p = task_point(task)
    if isinstance(task, Generation):
        p = p.at({k: x + 0.1 * normal(*x.shape) for k, x in p.w.items()}).on({k: x[:4] for k, x in p.batch.items()})
    check(p)


LETTERS = Glyphs(8, "ABC", test=50)


@pytest.mark.parametrize(
    "task",
    [
        Language(model=Decoder(256, 8, 16, 1, 2, tied=False, bias=True, dropout=0.3), batch=4, limit=50_000),
        Language(model=Decoder(256, 4, 16, 1, 2, norm="rms", placement="post"), batch=4, limit=50_000),
        Images(LETTERS, ResNet(1, 3, 4, norm="group"), 4),
        Images(LETTERS, ResNet(1, 3, 4, norm="none"), 4),
        Images(LETTERS, Vit(1, 8, 3, patch=4, width=16, depth=1, heads=2), 4),
        Generation(LETTERS, Unet(1, 8, 2, groups=2), 4),
        Generation(LETTERS, Dit(1, 8, 4, 16, 1, 2), 4),
    ],
    ids=lambda t: type(getattr(t, "net", getattr(t, "model", None))).__name__,
)
def test_every_network(task):
    p = task_point(task)
    check(p.at({k: x + 0.1 * normal(*x.shape) for k, x in p.w.items()}))


def test_a_network_of_indexed_weights_and_turned_matrices():
    check(Point(Problem(), Problem().start(), Problem().batch(0)))


def test_a_net_that_starts_from_zero_is_not_taken_for_one_that_stays_there():
    p = task_point(Generation(LETTERS, Unet(1, 8, 2, groups=2), 4))
    check(p)
    check(p.at({k: x + 0.1 * normal(*x.shape) for k, x in p.w.items()}))


# --- other people's modules -------------------------------------------------------------------------------------


class Encoder(nn.Module):
    def __init__(self, batch_first, dropout=0.0):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=batch_first)
        self.head, self.at = nn.Linear(8, 3), int(batch_first)

    def forward(self, x):
        return self.head(self.layer(x if self.at else x.transpose(0, 1)).mean(self.at))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("length", [4, 5])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_transformer_layer_whichever_axis_is_the_batchs(batch_first, length, dropout):
    check(module_point(lambda: Encoder(batch_first, dropout), (normal(4, length, 8), labels(4))))


class Memory(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = x.transpose(0, 1)
        return self.head(self.layer(x, x.square()).mean(0))


def test_cross_attention_with_its_projections_in_one_matrix():
    check(module_point(Memory, (normal(4, 4, 8), labels(4))))


class Residual(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), norm(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1, groups=2), norm(4)
        self.short, self.conv3 = nn.Conv2d(4, 6, 1, stride=2), nn.Conv2d(4, 6, 1)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(6, 3)

    def forward(self, x):
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(x + self.norm2(self.conv2(x)))
        return self.head((self.short(x) + F.avg_pool2d(self.conv3(x), 2)).mean((2, 3)))


class Evaluated(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Residual(nn.BatchNorm2d)

    def train(self, mode=True):
        super().train(mode)
        self.inner.eval()
        return self

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize("build", [lambda: Residual(partial(nn.GroupNorm, 2)), Evaluated], ids=["group", "batch"])
def test_a_residual_network_in_place(build):
    check(module_point(build, (normal(4, 3, 8, 8), labels(4))))


@pytest.mark.parametrize("side", [4, 12])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(2, 4, 3, stride=2, padding=1),
        nn.Conv1d(2, 4, 3, padding="same", dilation=2, padding_mode="circular"),
        nn.Conv2d(2, 4, 3, groups=2, padding="same"),
        nn.Conv2d(2, 4, (3, 1), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
        nn.Conv3d(2, 3, 3, dilation=(1, 1, 2), padding="same"),
        nn.ConvTranspose1d(2, 4, 3, 2, 1, 1),
        nn.ConvTranspose2d(2, 4, 3, 2, groups=2, dilation=2),
        nn.InstanceNorm1d(2, affine=True),
        nn.Sequential(nn.Unflatten(1, (2, 1)), nn.GroupNorm(1, 2), nn.Conv2d(2, 4, 1)),
    ],
    ids=str,
)
def test_convolutions(layer, side):
    dims = next((int(c) for c in str(layer).split("(")[0] if c.isdigit()), 1)
    if side == 12 and dims == 3:
        pytest.skip("as the smaller one")
    layer = nn.Sequential(layer, nn.Tanh(), nn.Flatten(1), _Mean())
    check(module_point(layer, (normal(4, 2, *[side] * dims), labels(4)), loss=squared))


class _Mean(nn.Module):
    def forward(self, x):
        return x.square().cumsum(1)


def squared(run, batch):
    return run(batch[0]).flatten(1).mean(1)


class Shared(nn.Module):
    """Tied, used twice, sliced, cast, broadcast, subtracted and divided parameters, and a table with padding."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 6, padding_idx=0)
        self.head = nn.Linear(6, 7, bias=False)
        self.head.weight = self.table.weight
        self.twice = nn.Linear(6, 6)
        self.gain, self.shift = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))
        self.position, self.cls = nn.Parameter(torch.randn(9, 6)), nn.Parameter(torch.randn(1, 1, 6))
        self.cube, self.last = nn.Parameter(torch.randn(2, 3, 6)), nn.Parameter(torch.randn(6))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))

    def forward(self, ids):
        x = self.table(ids) + self.position[: ids.shape[1]]
        x = torch.cat([self.cls.expand(len(x), -1, -1), x, self.last.expand(len(x), 1, -1)], 1)
        x = F.linear(x, self.cube.permute(2, 1, 0).flatten(1))
        x = self.twice(torch.tanh(self.twice(x))) * self.gain / self.gain.exp()
        x = self.shift - (x - self.shift.float().to(x)) @ self.twice.weight
        return self.head(self.normed(x) + x / (2 + self.gain)).mean(1)


def test_a_parameter_with_several_uses_and_in_disguise():
    ids = torch.randint(7, (4, 4), generator=stream(0, "ids"))
    # A parameter cast to float32 has its gradient rounded to it.
    check(module_point(Shared, (ids, labels(4, 7))), 1e-6)


class Recurrent(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        self.cell, self.drop, self.head = nn.LSTM(4, 6, batch_first=True), nn.Dropout(dropout), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.cell(self.drop(x))[0][:, -1])


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_what_has_no_rule_is_served_example_by_example(dropout):
    cell = dict.fromkeys(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), "loop")
    p = module_point(lambda: Recurrent(dropout), (normal(4, 5, 4), labels(4)))
    check(p, **{f"cell__{k}": how for k, how in cell.items()})


class Bent(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.slope, self.head = nn.Linear(4, 6), nn.PReLU(6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.slope(self.a(x)) + torch.einsum("bi,oi->bo", x, self.a.weight))


def test_vmap_serves_what_it_can():
    check(module_point(Bent, (normal(4, 4), labels(4))), slope__weight="vmap", a__weight="vmap")


class Scalars(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.scale, self.v = nn.Linear(4, 3), nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.randn(4))

    def forward(self, x):
        x = torch.addmm(self.v, x, self.head.weight.T @ self.head.weight)
        return self.head(x + (x @ self.v)[:, None]) * self.scale.exp() + self.v.norm() * x[:, :1]


def test_numbers_and_what_is_computed_from_parameters_alone():
    check(module_point(Scalars, (normal(4, 4), labels(4))))


class Experts(nn.Module):
    """Each example goes to the expert that its own first entry asks for."""

    def __init__(self):
        super().__init__()
        self.first, self.experts, self.head = nn.Linear(4, 4), nn.Parameter(torch.randn(4, 4, 4)), nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x)
        out = torch.zeros_like(x)
        for i in (x[:, 0] > 0).long().unique():
            rows = (x[:, 0] > 0).long() == i
            out[rows] = F.linear(x[rows], self.experts[i])
        return self.head(out)


def test_experts_chosen_by_the_data_are_no_coupling():
    check(module_point(Experts, (normal(8, 4), labels(8))), experts="loop")


class Hidden(torch.autograd.Function):
    """A product that no torch function announces."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx, *grads):
        x, w = ctx.saved_tensors
        return grads[0] @ w.T, x.T @ grads[0]


class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.head = nn.Parameter(torch.randn(4, 4)), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(Hidden.apply(x @ self.w, self.w))


def test_a_use_that_went_unseen_is_noticed():
    check(module_point(Half, (normal(4, 4), labels(4))), w="loop")


class Only(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.head = nn.Parameter(torch.randn(4, 4)), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(Hidden.apply(x, self.w))


def test_a_use_that_went_unseen_while_nothing_came_down_is_noticed_later():
    p = module_point(Only, (normal(4, 4), labels(4)))
    check(p.at({**p.w, "head.weight": torch.zeros_like(p.w["head.weight"])}))
    check(p, w="loop")


class Masked(nn.Module):
    """Examples along the second axis, as many as there are tokens."""

    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = x.transpose(0, 1)
        return self.head((torch.tanh(self.a(x)) * x[..., :1]).sum(0))


def test_a_layout_that_a_batch_leaves_open_is_not_remembered():
    x = normal(4, 4, 4)
    one = torch.zeros_like(x)
    one[1, 1] = x[1, 1]
    p = module_point(Masked, (one, labels(4)))
    check(p)
    check(p.on({**p.batch, "batch": (x, labels(4))}))


class Sometimes(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        return a + b if x[0, 0] > 0 else a


def test_a_layer_that_takes_part_only_sometimes():
    x = normal(4, 4)
    x[0, 0] = -1.0
    p = module_point(Sometimes, (x, labels(4)))
    check(p)
    check(p.on({**p.batch, "batch": (x.abs(), labels(4))}))


def pairs(run, batch):
    out = run(batch[0])
    return (out[::2] - out[1::2]).square().sum(1)


def test_examples_that_are_pairs():
    slopes = nn.Sequential(nn.Linear(4, 5), nn.PReLU(5), nn.Linear(5, 2))
    check(module_point(slopes, (normal(8, 4),), pairs), **{"1__weight": "loop"})


SIZES = {"vocab_size": 50, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}


def hugging_face(family):
    transformers = pytest.importorskip("transformers")
    if family == "gpt2":
        ends = {"bos_token_id": 0, "eos_token_id": 0}
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=1, n_head=2, **ends)
        )
    if family == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, intermediate_size=32))
    return transformers.BertForMaskedLM(
        transformers.BertConfig(**SIZES, intermediate_size=32, max_position_embeddings=16)
    )


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("length", [4, 6])
def test_hugging_face_models(family, length):
    # Dropout is on; as many tokens as examples, and more. Llama computes in float32 inside.
    ids = torch.randint(50, (4, length), generator=stream(0, "ids"))
    check(module_point(hugging_face(family), ids, next_token), 1e-5 if family == "llama" else CLOSE)


# --- layouts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((6, 5, 3), Layout(6, 0, 1)),
        ((6, 6, 6), Layout(6, 1, 1)),
        ((5, 6, 3), Layout(6, 1, 1)),
        ((30, 3), Layout(6, 0, 5)),
        ((30, 3), Layout(6, 0, 1)),
        ((72, 3), Layout(6, 0, 2)),
        ((2, 3, 18), Layout(6, 2, 3)),
    ],
)
def test_the_examples_are_found_wherever_they_are(shape, layout):
    c = numbers(torch.zeros(6, dtype=torch.float64))
    plain = normal(*shape)
    scaled = plain * layout.spread(c, plain)
    assert fitting(plain, scaled, c) == [layout]
    led = layout.lead(plain)
    assert led.shape[0] == 6
    assert torch.equal(layout.lead(scaled), led * c.reshape(-1, *[1] * (led.ndim - 1)))
    assert fitting(plain, scaled.flip(layout.axis), c) == []


def test_numbers_are_powers_of_two_without_a_period():
    for n in range(2, 70):
        c = numbers(torch.zeros(n, dtype=torch.float32))
        assert set(c.tolist()) <= {1.0, 2.0, 4.0, 8.0}
        for period in range(1, n // 2 + 1):
            assert not torch.equal(c[period:], c[:-period])
    assert {x.axis for x in layouts(torch.Size((4, 4, 7)), 4)} == {0, 1}


# --- products ---------------------------------------------------------------------------------------------------


def gathered(t, vocab=11, b=5):
    """A tied table: a head and a lookup; big and small, so that both ways are taken."""
    ids = torch.randint(vocab, (b, t), generator=stream(0, "ids"))
    terms = (Outer(normal(b, t, vocab), normal(b, t, 3), (vocab, 3)), Lookup(ids, normal(b, t, 3, seed=1), (vocab, 3)))
    return terms, Gathered(terms, (None, None), (vocab, 3), b, normal(vocab, 3))


@pytest.mark.parametrize("t", [1, 2, 40])
@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("total", [True, False])
def test_norms_and_inner_products_with_and_without_the_gradients(t, which, total):
    terms, g = gathered(t)
    terms = tuple(terms[i] for i in which)
    g = replace(g, terms=terms, backs=(None,) * len(terms))
    each = torch.stack([sum(x.each(slice(i, i + 1))[0] for x in terms) for i in range(5)])
    flat = each.flatten(1)
    for found, truth in ((squares(g, total), flat.square().sum(1)), (gram(g, total), flat @ flat.T)):
        assert torch.allclose(found[0], truth)
        assert (found[1] is not None) == total
        assert found[1] is None or torch.allclose(found[1], each.sum(0))
    assert torch.allclose(g.total(), each.sum(0))


def test_inner_products_of_more_than_fits_at_once(monkeypatch):
    monkeypatch.setattr("adamantine.per_example.products.KEPT", 40)
    grads = normal(6, 5, 4)
    g = Gathered((Dense(grads),), (None,), (5, 4), 6, grads[0])
    found, total = gram(g, True)
    assert torch.allclose(found, grads.flatten(1) @ grads.flatten(1).T)
    assert torch.allclose(total, grads.sum(0))
    terms, tied = gathered(40)
    flat = tied.each(slice(None)).flatten(1)
    assert torch.allclose(gram(tied, False)[0], flat @ flat.T)
    assert len(terms) == 2


# --- points -----------------------------------------------------------------------------------------------------


def test_a_subset_of_tensors_has_the_same_gradients():
    p = module_point(lambda: Encoder(True), (normal(4, 5, 8), labels(4)))
    names = ["head.weight", "layer.self_attn.in_proj_weight"]
    part = p.only(names)
    check(part)
    assert list(part.each_grad()) == names
    assert torch.allclose(part.each_grad()[names[0]], p.each_grad()[names[0]])


def test_pieces_are_examples_one_after_another():
    p = module_point(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (normal(7, 4), labels(7)))
    x, y = p.batch["batch"]
    parts = tuple({"batch": (x[i:j], y[i:j]), "seed": p.batch["seed"][i:j]} for i, j in ((0, 4), (4, 6), (6, 7)))
    q = p.on(Pieces(parts))
    whole = p.on(p.batch)
    for k, g in q.each_grad().items():
        assert torch.allclose(g, whole.each_grad()[k])
    for k, g in q.on(q.batch).each_grad_norm().items():
        assert torch.allclose(g, whole.each_grad_norm()[k])
    gram_point = q.on(q.batch)
    assert torch.allclose(gram_point.each_gram(), whole.each_gram())
    for one in (q, gram_point):
        assert float(one.loss) == pytest.approx(float(p.loss))
        assert all(torch.allclose(one.grad[k], p.grad[k]) for k in p.w)


def test_what_a_question_costs_and_brings_along():
    p = module_point(lambda: nn.Linear(4, 3), (normal(4, 4), labels(4)))
    p.each_grad_norm()
    p.each_grad_norm()
    p.each_gram()
    p.each_grad()
    p.grad, p.loss  # noqa: B018
    assert dict(p.cost) == {"each_norm": 1, "each_gram": 1, "each_grad": 1}
    standing = {k: torch.zeros_like(x) for k, x in p.w.items()}
    given = p.given(standing)
    given.each_grad_norm()
    assert given.grad is standing


def test_where_gradients_are_off():
    for build in (Scalars, Bent, Experts):
        p = module_point(build, (normal(4, 4), labels(4)))
        with torch.no_grad():
            each = p.at(p.w).each_grad()
        assert all(torch.equal(x, p.each_grad()[k]) and not x.requires_grad for k, x in each.items())


def test_losses_without_parameters_and_single_examples():
    p = module_point(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (normal(1, 4), labels(1)))
    check(p)

    @dataclass(frozen=True)
    class Flat:
        def losses(self, w, batch):
            return batch.sum(1)

    q = Point(Flat(), {"w": normal(3)}, normal(4, 2))
    assert torch.equal(q.each_grad()["w"], torch.zeros(4, 3))
    assert torch.equal(q.each_grad_norm()["w"], torch.zeros(4))
    assert torch.equal(q.grad["w"], torch.zeros(3))


class Coupled(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = self.a(x)
        return self.head(torch.tanh(x - x.mean(0)))


@pytest.mark.parametrize("ask", ["each_grad", "each_grad_norm", "each_gram"])
def test_coupled_examples_are_refused_in_a_sentence(ask):
    images = (normal(4, 3, 8, 8), labels(4))
    for build, batch, says in (
        (lambda: Residual(nn.BatchNorm2d), images, "BatchNorm in training couples the batch"),
        (lambda: Residual(partial(nn.BatchNorm2d, affine=False)), images, "BatchNorm in training couples the batch"),
        (Coupled, (normal(4, 4), labels(4)), "for one example depends on others"),
    ):
        p = module_point(build, batch)
        with pytest.raises(ValueError, match=f"does not split by example .*{says}.*; use group or layer normalization"):
            getattr(p, ask)()


def test_a_loss_that_is_one_number_is_refused_in_a_sentence():
    @dataclass(frozen=True)
    class Mean:
        def losses(self, w, batch):
            return (batch @ w["w"]).square().mean()

    p = Point(Mean(), {"w": normal(4)}, normal(3, 4))
    assert torch.allclose(p.grad["w"], 2 / 3 * p.batch.T @ (p.batch @ p.w["w"]))
    with pytest.raises(ValueError, match=r"Mean: its losses have the shape \(\); .* one loss an example"):
        p.each_gram()


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.b(torch.tanh(self.norm(self.a(x)))).float()


def test_mixed_precision_gives_the_dtype_of_the_weights():
    p = module_point(Mixed, (normal(6, 8).float(), labels(6)), dtype=torch.float32)
    check(p, 3e-2)
    assert set(p.memo) == set()


def test_not_a_number_stays_with_its_example():
    x = normal(4, 4)
    x[2, 0] = float("nan")
    p = module_point(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (x, labels(4)))
    for g in p.each_grad().values():
        assert torch.isfinite(g[[0, 1, 3]]).all()
        assert g[2].isnan().any()


def test_the_trajectory_and_the_generators_are_left_alone():
    p = module_point(lambda: Encoder(False, 0.3), (normal(4, 4, 8), labels(4)))
    before, kept = torch.random.get_rng_state(), {k: x.clone() for k, x in p.w.items()}
    p.each_grad()
    p.each_gram()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(x, kept[k]) and x.grad is None for k, x in p.w.items())
