"""Products with second derivatives against dense matrices, however made; ragged pieces; subsets; wrong losses."""

import dataclasses
from collections import UserDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adamantine import tree
from adamantine.derivatives import DIFFERENCE, KEPT, REBUILT, lacks_memory
from adamantine.nets.decoder import Decoder
from adamantine.pieces import Pieces
from adamantine.point import Point, stream
from adamantine.tasks.generation import Generation
from adamantine.tasks.images import Images
from adamantine.tasks.language import Language
from adamantine.tasks.linear import DeepLinear
from adamantine.tasks.logistic import HeavyTailedLogistic
from adamantine.tasks.module import ModuleTask
from adamantine.tasks.scalar import TwoLayerScalar

SMALL = Decoder(vocab=256, width=8, heads=2, depth=1, context=6)


@dataclass(frozen=True)
class Net:
    """Two layers with attention over the examples' tokens, a norm, and an unused tensor."""

    kind: str = "cross-entropy"

    def init(self, rng):
        shapes = {"up": (6, 4), "gain": (6,), "bias": (6,), "head": (3, 6), "unused": (2,)}
        return {k: torch.randn(s, generator=rng, dtype=torch.float64) for k, s in shapes.items()}

    def source(self, rng):
        return lambda w: self.batch(10, rng)

    def batch(self, n, rng):
        x = torch.randn(n, 5, 4, generator=rng, dtype=torch.float64)
        return {"x": x, "y": torch.randint(3, (n,), generator=rng)}

    def outputs_and_losses(self, w, batch):
        h = torch.tanh(F.linear(batch["x"], w["up"]))
        h = F.scaled_dot_product_attention(h[:, None], h[:, None], h[:, None])[:, 0]
        h = F.layer_norm(h, (6,), w["gain"], w["bias"]).mean(1)
        out = F.linear(h, w["head"])
        if self.kind == "cross-entropy":
            return out, F.cross_entropy(out, batch["y"], reduction="none")
        return out, (out - F.one_hot(batch["y"], 3)).square().sum(1)

    def losses(self, w, batch):
        return self.outputs_and_losses(w, batch)[1]

    def score(self, w):
        return {}


def start(task, seed=0):
    w = tree.place(task.init(stream(seed, "init")), "cpu", torch.float64)
    return Point(task, w, tree.place(task.source(stream(seed, "data"))(w), "cpu", torch.float64), seed=seed)


def dense(product, w):
    eye = torch.eye(tree.size(w), dtype=torch.float64)
    return torch.stack([tree.flat(product(tree.like(row, w))) for row in eye], 1)


def true_hessian(p):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        return torch.autograd.functional.hessian(
            lambda x: p.task.losses(tree.like(x, p.w), p.batch).mean(), tree.flat(p.w)
        )


def direction(p, seed=5):
    rng = stream(seed, "v")
    return {k: torch.randn(x.shape, generator=rng, dtype=x.dtype) for k, x in p.w.items()}


def relative(a, b):
    a, b = tree.flat(a), tree.flat(b)
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("by", "within"), [(KEPT, 1e-12), (REBUILT, 1e-12), (DIFFERENCE, 1e-7), ("", 1e-12)])
def test_every_way_gives_the_dense_hessian(by, within):
    p = dataclasses.replace(start(Net()), hvp_by=by)
    h = true_hessian(p)
    found = dense(p.hvp, p.w)
    assert float((found - h).norm() / h.norm()) < within
    assert p.memo["hvp"].by == (by or KEPT)
    assert p.cost["hvp"] == len(h)
    assert p.cost["grad"] == (2 * len(h) if by == DIFFERENCE else 0)


def test_a_difference_is_scaled_to_the_direction_and_right_in_single_precision():
    p = start(Net())
    single = dataclasses.replace(p, w=tree.place(p.w, "cpu", torch.float32), memo={}, hvp_by=DIFFERENCE)
    single = dataclasses.replace(single, batch=tree.place(p.batch, "cpu", torch.float32))
    for scale in (1e-3, 1.0, 1e3):
        v = {k: scale * x for k, x in direction(p).items()}
        found = tree.place(single.hvp(tree.place(v, "cpu", torch.float32)), "cpu", torch.float64)
        assert relative(found, p.hvp(v)) < 2e-3
    nothing = {k: torch.zeros_like(x) for k, x in single.w.items()}
    assert not tree.norm(single.hvp(nothing))


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].exp()


class Exhausted:
    """A task that runs out of memory the first times that it is asked."""

    def __init__(self, task, fails):
        self.task, self.left = task, fails

    def losses(self, w, batch):
        self.left -= 1
        if self.left >= 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.task.losses(w, batch)


def test_a_kernel_without_second_derivative_is_differenced():
    class Exponential:
        def losses(self, w, batch):
            return Once.apply(w["x"]).sum() + (w["y"] ** 3)

    w = {"x": torch.tensor([0.3, -0.2], dtype=torch.float64), "y": torch.tensor([0.5], dtype=torch.float64)}
    p = Point(Exponential(), w, None)
    v = {"x": torch.tensor([1.0, 2.0], dtype=torch.float64), "y": torch.tensor([1.0], dtype=torch.float64)}
    found = p.hvp(v)
    assert torch.allclose(found["x"], w["x"].exp() * v["x"], rtol=1e-7)
    assert torch.allclose(found["y"], 6 * w["y"] * v["y"], rtol=1e-7)
    assert p.memo["hvp"].by == DIFFERENCE
    assert p.at(w).hvp(v)
    later = dataclasses.replace(p, memo={})
    later.hvp(v)
    assert later.memo["hvp"].by == DIFFERENCE, "the next point knows"
    forced = dataclasses.replace(p, memo={}, hvp_by=KEPT)
    with pytest.raises(NotImplementedError, match="second derivative of the loss by x"):
        forced.hvp(v)


@pytest.mark.parametrize(("fails", "by"), [(1, REBUILT), (2, DIFFERENCE)])
def test_exhausted_memory_is_met_by_less_of_it(fails, by):
    p = start(Net())
    poor = Point(Exhausted(p.task, fails), p.w, p.batch)
    v = direction(p)
    assert relative(poor.hvp(v), p.hvp(v)) < 1e-6
    assert poor.memo["hvp"].by == by
    assert lacks_memory(MemoryError())
    assert not lacks_memory(ValueError("out of memory"))


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="hvp_by is 'jvp'"):
        dataclasses.replace(start(Net()), hvp_by="jvp").hvp({})


@pytest.mark.parametrize("kind", ["cross-entropy", "squares"])
def test_gauss_newton_is_the_dense_product_and_positive(kind):
    p = start(Net(kind))
    out = p.task.outputs_and_losses(p.w, p.batch)[0]

    def outputs(x):
        return p.task.outputs_and_losses(tree.like(x, p.w), p.batch)[0]

    j = torch.autograd.functional.jacobian(outputs, tree.flat(p.w))  # [B, C, d]
    if kind == "squares":
        inner = 2 * torch.eye(3, dtype=torch.float64).expand(10, 3, 3)
    else:
        q = out.softmax(1)
        inner = torch.diag_embed(q) - q[:, :, None] * q[:, None, :]
    exact = torch.einsum("bcd,bce,bef->df", j, inner, j) / 10
    found = dense(p.ggn_vp, p.w)
    assert float((found - exact).norm() / exact.norm()) < 1e-12
    assert float(torch.linalg.eigvalsh(found)[0]) > -1e-12 * float(exact.norm())
    assert p.cost["ggn"] == len(exact)


def test_gauss_newton_is_the_hessian_where_outputs_are_linear():
    p = start(HeavyTailedLogistic(groups=2))
    v = direction(p)
    assert relative(p.ggn_vp(v), p.hvp(v)) < 1e-12


@pytest.mark.parametrize(
    "task",
    [
        Language(model=SMALL, batch=3, limit=20_000),
        Images(),
        Generation(),
        DeepLinear(),
        HeavyTailedLogistic(groups=2),
        TwoLayerScalar(),
    ],
    ids=lambda t: type(t).__name__,
)
def test_tasks_tell_their_outputs(task):
    """`v' G v` is the loss's curvature in its outputs along `J v`: by a difference of outputs."""
    p = start(task)
    v, e = direction(p), 1e-5
    outs = [task.outputs_and_losses(tree.add(p.w, v, side * e), p.batch)[0].detach() for side in (1, -1)]
    pushed = (outs[0] - outs[1]) / (2 * e)
    out, losses = task.outputs_and_losses({k: x.requires_grad_() for k, x in p.w.items()}, p.batch)
    assert torch.equal(losses, task.losses(p.w, p.batch))
    slope = torch.autograd.grad(losses.mean(), out, create_graph=True)[0]
    curved = torch.autograd.grad(slope, out, pushed)[0]
    assert float(tree.dot(v, p.ggn_vp(v))) == pytest.approx(float((pushed * curved).sum()), rel=1e-5)


def test_a_task_without_outputs_says_so():
    class Plain:
        def losses(self, w, batch):
            return w["x"].square()

    with pytest.raises(ValueError, match="outputs_and_losses"):
        Point(Plain(), {"x": torch.ones(2)}, None).ggn_vp({"x": torch.ones(2)})


def test_every_examples_slope_along_a_direction():
    p = start(Net())
    v = direction(p)
    each = torch.stack([x.flatten(1) @ v[k].flatten() for k, x in p.each_grad().items()]).sum(0)
    assert torch.allclose(p.each_dot(v), each, rtol=1e-10)
    assert p.cost["each_dot"] == 1


def cut(batch, *sizes):
    parts = {k: x.split(list(sizes)) for k, x in batch.items()}
    return Pieces(tuple({k: x[i] for k, x in parts.items()} for i in range(len(sizes))))


@pytest.mark.parametrize("by", [KEPT, REBUILT, DIFFERENCE])
def test_ragged_pieces_count_every_example_once(by):
    p = start(Net())
    q = Point(p.task, p.w, cut(p.batch, 8, 2), hvp_by=by)
    v = direction(p)
    assert float(q.loss) == pytest.approx(float(p.loss), rel=1e-14)
    assert relative(q.grad, p.grad) < 1e-13
    assert relative(q.hvp(v), p.hvp(v)) < (1e-6 if by == DIFFERENCE else 1e-13)
    assert relative(q.ggn_vp(v), p.ggn_vp(v)) < 1e-13
    assert torch.allclose(q.each_dot(v), p.each_dot(v), rtol=1e-12)
    assert relative(q.each_grad(), p.each_grad()) < 1e-12


def test_subsets_see_their_block():
    p = start(Net())
    h, g = dense(p.hvp, p.w), dense(p.ggn_vp, p.w)
    q = p.only(["gain", "head"])
    assert [*p.only(["head", "gain"]).w] == ["head", "gain"]
    at, places = 0, []
    for k, x in p.w.items():
        places += list(range(at, at + x.numel())) if k in q.w else []
        at += x.numel()
    assert torch.allclose(dense(q.hvp, q.w), h[places][:, places], atol=1e-14)
    assert torch.allclose(dense(q.ggn_vp, q.w), g[places][:, places], atol=1e-14)
    assert torch.equal(q.grad["head"], p.grad["head"])
    assert [*p.only(["*ea*"]).w] == ["head"]
    with pytest.raises(ValueError, match=r"no tensor \['tail'\]"):
        p.only(["head", "tail"])


def test_dropout_keeps_its_masks_through_all_questions():
    task = Language(model=dataclasses.replace(SMALL, dropout=0.5), batch=4, limit=20_000)
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1)).double()
    for p in (start(task), start(ModuleTask(module, squares, pairs))):
        v, e = direction(p), 1e-5
        ends = [p.at(tree.add(p.w, v, side * e)) for side in (1, -1)]
        slope = float(ends[0].loss - ends[1].loss) / (2 * e)
        assert float(tree.dot(p.grad, v)) == pytest.approx(slope, rel=1e-5)
        assert float(p.each_dot(v).mean()) == pytest.approx(slope, rel=1e-5)
        turned = {k: (x - ends[1].grad[k]) / (2 * e) for k, x in ends[0].grad.items()}
        assert relative(p.hvp(v), turned) < 1e-5
        assert relative(tree.each(lambda x: x.mean(0), p.each_grad()), p.grad) < 1e-10


def squares(run, batch):
    x, y = batch
    return (run(x)[:, 0] - y).square()


def pairs(rng):
    return lambda: (torch.randn(6, 4, generator=rng, dtype=torch.float64), torch.randn(6, generator=rng).double())


class Pair(NamedTuple):
    x: torch.Tensor
    note: str


def test_batches_of_any_structure_are_placed():
    batch = {"a": Pair(torch.ones(2), "n"), "b": None, "c": UserDict(d=[torch.ones(1)]), "e": (1, "s")}
    out = tree.place(batch, "cpu", torch.float64)
    assert out["a"].x.dtype == torch.float64
    assert (out["a"].note, out["b"], out["e"]) == ("n", None, (1, "s"))
    assert out["c"]["d"][0].dtype == torch.float64


@pytest.mark.parametrize(
    ("losses", "what"),
    [
        (lambda w: w["x"].square()[:, None], r"shape \(3, 1\)"),
        (lambda w: w["x"].long(), "int64"),
        (lambda w: 3.0, "float"),
        (lambda w: w["x"][:0], r"shape \(0,\)"),
    ],
)
def test_losses_that_are_none_are_refused(losses, what):
    class Odd:
        def losses(self, w, batch):
            return losses(w)

    for ask in ("loss", "grad"):
        with pytest.raises(ValueError, match=what):
            getattr(Point(Odd(), {"x": torch.ones(3)}, None), ask)


def test_losses_without_weights_are_refused():
    class Fixed:
        def losses(self, w, batch):
            return torch.ones(3)

    with pytest.raises(ValueError, match="do not depend on the weights"):
        Point(Fixed(), {"x": torch.ones(3)}, None).grad  # noqa: B018


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


def test_a_kernel_that_is_differentiated_once_is_found_inside_a_network():
    """Autograd gives a wrong product there, and no error."""

    class Deep:
        inner = staticmethod(Squared.apply)

        def outputs_and_losses(self, w, batch):
            out = torch.tanh(self.inner(torch.tanh(batch @ w["x"])) * w["y"])
            return out, out.square()

        def losses(self, w, batch):
            return self.outputs_and_losses(w, batch)[1]

    class Plain(Deep):
        inner = staticmethod(torch.square)

    rng = stream(0, "w")
    w = {k: torch.randn(s, generator=rng, dtype=torch.float64) for k, s in (("x", 4), ("y", 1))}
    batch = torch.randn(5, 4, generator=rng, dtype=torch.float64)
    p, true = Point(Deep(), w, batch), Point(Plain(), w, batch)
    v = direction(p)
    assert relative(p.hvp(v), true.hvp(v)) < 1e-7
    assert p.memo["hvp"].by == DIFFERENCE
    for ask in (p.ggn_vp, p.each_dot):
        with pytest.raises(NotImplementedError, match="once only"):
            ask(v)


def test_a_way_asked_for_later_is_taken():
    p = start(Net())
    v = direction(p)
    p.hvp(v)
    later = dataclasses.replace(p, hvp_by=REBUILT)
    assert relative(later.hvp(v), p.hvp(v)) < 1e-12
    assert later.memo["hvp"].by == REBUILT


def test_a_loss_that_is_linear_in_a_tensor_is_not_taken_for_a_kernel_without_derivative():
    class Linear:
        def losses(self, w, batch):
            return w["x"].square() + 3 * w["y"]

    w = {"x": torch.ones(2, dtype=torch.float64), "y": torch.ones(2, dtype=torch.float64)}
    p = Point(Linear(), w, None)
    found = p.hvp({"x": w["x"], "y": w["y"]})
    assert p.memo["hvp"].by == KEPT
    assert torch.equal(found["x"], w["x"])
    assert not found["y"].any()


def test_a_loss_that_is_no_number_gives_no_numbers():
    p = start(Net())
    v = direction(p)
    for by in (KEPT, REBUILT, DIFFERENCE):
        lost = dataclasses.replace(p, w={**p.w, "up": p.w["up"] * torch.nan}, memo={}, hvp_by=by)
        assert lost.loss.isnan()
        assert lost.hvp(v)["up"].isnan().all()
        assert lost.memo["hvp"].by == by
    for found in (lost.ggn_vp(v)["up"], lost.each_dot(v), lost.each_grad()["up"]):
        assert found.isnan().all()


def entropy(run, batch):
    return F.cross_entropy(run(batch[0]), batch[1], reduction="none")


class Says(nn.Module):
    """A module that gives what `says` makes of its logits and its features."""

    def __init__(self, says=lambda logits, features: logits):
        super().__init__()
        self.below, self.above, self.says = nn.Linear(4, 6), nn.Linear(6, 3), says

    def forward(self, x):
        features = torch.tanh(self.below(x))
        return self.says(self.above(features), features)


def said(says, loss):
    torch.manual_seed(0)
    return start(ModuleTask(Says(says).double(), loss, labelled))


@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor


@pytest.mark.parametrize(
    ("says", "take"),
    [
        (lambda a, b: a, lambda out: out),
        (lambda a, b: (a, b), lambda out: out[0]),
        (lambda a, b: {"again": a, "logits": a}, lambda out: out["logits"]),
        (Output, lambda out: out.logits),
        (lambda a, b: a.split([1, 2], 1), lambda out: torch.cat(out, 1)),
    ],
    ids=["logits", "logits and features", "logits twice", "an object with logits", "logits in two parts"],
)
def test_gauss_newton_of_a_module_is_that_of_its_logits(says, take):
    p = said(says, lambda run, batch: entropy(lambda x: take(run(x)), batch))
    x, labels = p.batch["batch"]

    def logits(flat):
        w = tree.like(flat, p.w)
        h = torch.tanh(F.linear(x, w["below.weight"], w["below.bias"]))
        return F.linear(h, w["above.weight"], w["above.bias"])

    j = torch.autograd.functional.jacobian(logits, tree.flat(p.w))
    q = logits(tree.flat(p.w)).softmax(1)
    inner = torch.diag_embed(q) - q[:, :, None] * q[:, None, :]
    exact = torch.einsum("bcd,bce,bef->df", j, inner, j) / len(labels)
    found = dense(p.ggn_vp, p.w)
    assert float((found - exact).norm() / exact.norm()) < 1e-12


def penalized(run, batch):
    out = run(batch[0])
    return entropy(lambda x: out[0], batch) + out[1].square().sum(1)


def test_outputs_that_do_not_say_all_are_refused():
    v = direction(said(lambda a, b: a, entropy))
    with pytest.raises(ValueError, match="depend on one another"):
        said(lambda a, b: (a, b), penalized).ggn_vp(v)
    hidden = []
    p = said(lambda a, b: (hidden.append(b), a)[1], lambda run, batch: entropy(run, batch) + hidden.pop().sum(1))
    with pytest.raises(ValueError, match="otherwise than through the outputs"):
        p.ggn_vp(v)
    p = said(lambda a, b: Output(a.clone(), a), lambda run, batch: entropy(lambda x: run(x).hidden, batch))
    with pytest.raises(ValueError, match="otherwise than through the outputs"):
        p.ggn_vp(v)


def labelled(rng):
    return lambda: (torch.randn(10, 4, generator=rng, dtype=torch.float64), torch.randint(3, (10,), generator=rng))


# Forward mode compiles its rules by `torch.jit`.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_products_are_those_of_curvlinops_over_batches_of_different_sizes():
    curvlinops = pytest.importorskip("curvlinops", reason="curvlinops-for-pytorch is not installed")
    torch.manual_seed(0)
    # No LayerNorm: forward mode over `jacrev`, by which version 3.0.1 makes its Hessian products, is wrong through it.
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    p = start(ModuleTask(module, entropy, labelled))
    x, y = p.batch["batch"]
    ragged = [(x[:8], y[:8]), (x[8:], y[8:])]
    q = p.on(Pieces(tuple({"batch": b, "seed": p.batch["seed"][: len(b[1])]} for b in ragged)))
    v = direction(p)
    for kind, ours in (("HessianLinearOperator", q.hvp), ("GGNLinearOperator", q.ggn_vp)):
        theirs = getattr(curvlinops, kind)(module, nn.CrossEntropyLoss(), [*module.parameters()], ragged)
        assert torch.allclose(tree.flat(ours(v)), theirs @ tree.flat(v), rtol=1e-9, atol=1e-12), kind


def test_products_are_those_of_hessian_eigenthings():
    theirs = pytest.importorskip("hessian_eigenthings", reason="hessian-eigenthings is not installed")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)).double()
    p = start(ModuleTask(module, entropy, labelled))
    operator = theirs.HessianOperator(module, [p.batch["batch"]], theirs.supervised_loss(nn.CrossEntropyLoss()))
    v = direction(p)
    assert torch.allclose(tree.flat(p.hvp(v)), operator.matvec(tree.flat(v)), rtol=1e-9, atol=1e-12)


def test_the_gradient_of_one_batch_is_to_the_last_bit_that_of_the_mean():
    p = start(Net())
    w = {k: x.clone().requires_grad_() for k, x in p.w.items()}
    p.task.losses(w, p.batch).mean().backward()
    assert all(torch.equal(p.grad[k], torch.zeros_like(x) if x.grad is None else x.grad) for k, x in w.items())


class Summed:
    """Half the squared distance of `a + b`: autograd may give both tensors one gradient, in one memory."""

    def outputs_and_losses(self, w, batch):
        out = w["a"] + w["b"] - batch
        return out, out.square().sum(1) / 2

    def losses(self, w, batch):
        return self.outputs_and_losses(w, batch)[1]


@pytest.mark.parametrize("sizes", [(4,), (3, 1)])
def test_tensors_that_enter_as_a_sum_do_not_share_their_products(sizes):
    w = {k: torch.ones(3, dtype=torch.float64) for k in "ab"}
    p = Point(Summed(), w, Pieces(tuple(torch.zeros(n, 3) for n in sizes)))
    v = {"a": torch.ones(3, dtype=torch.float64), "b": torch.zeros(3, dtype=torch.float64)}
    for found, true in ((p.grad, 2.0), (p.hvp(v), 1.0), (p.ggn_vp(v), 1.0), (p.hvp(v), 1.0)):
        assert all(torch.equal(x, torch.full_like(x, true)) for x in found.values())
    assert (float(v["a"].sum()), float(v["b"].sum())) == (3.0, 0.0), "the direction is not changed"
