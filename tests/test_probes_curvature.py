"""Curvature probes: closed forms on quadratics with noise, errors that are standard errors, and where a line ends."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from adamantine import tree
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.pieces import Pieces
from adamantine.point import Point, stream
from adamantine.probes.adaptive_sharpness import AdaptiveSharpness
from adamantine.probes.batch_sharpness import BatchSharpness
from adamantine.probes.directional import DirectionalSharpness
from adamantine.probes.loss_along_update import LossAlongUpdate
from adamantine.probes.sharpness import Sharpness
from adamantine.tasks.quadratic import Quadratic

SPECTRUM = (3.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02)


@dataclass(frozen=True)
class Regression:
    """Least squares on Gaussian inputs: each batch has a gradient and a Hessian of its own."""

    dim: int = 6
    batch: int = 8
    noise: float = 0.5

    def source(self, rng):
        return lambda w: self.draw(rng, self.batch)

    def draw(self, rng, n):
        x = torch.randn(n, self.dim, generator=rng, dtype=torch.float64) / torch.arange(1, self.dim + 1).sqrt()
        return x, self.noise * torch.randn(n, generator=rng, dtype=torch.float64)

    def losses(self, w, batch):
        x, y = batch
        return (x @ w["w"] - y).square() / 2


@dataclass(frozen=True)
class Line:
    """A function of one number."""

    f: object

    def losses(self, w, batch):
        return self.f(w["x"]).reshape(1)


@dataclass(frozen=True)
class Net:
    """Regression by two layers, `tanh` or ReLU, on all of 40 examples."""

    relu: bool = False
    hidden: int = 8

    def init(self, rng):
        shapes = {"one": (self.hidden, 4), "bias": (self.hidden,), "two": (2, self.hidden)}
        return {k: torch.randn(s, generator=rng, dtype=torch.float64) / s[-1] ** 0.5 for k, s in shapes.items()}

    def batch(self):
        rng = stream(0, "net")
        return tuple(torch.randn(40, n, generator=rng, dtype=torch.float64) for n in (4, 2))

    def losses(self, w, batch):
        x = batch[0] @ w["one"].T + w["bias"]
        y = (x.relu() if self.relu else x.tanh()) @ w["two"].T
        return (y - batch[1]).square().mean(1)


def dense(p):
    """The Hessian, column by column."""
    eye = torch.eye(tree.size(p.w), dtype=torch.float64)
    return torch.stack([tree.flat(replace(p, cost=p.cost.copy()).hvp(tree.like(row, p.w))) for row in eye], 1)


def at(task, seed=0, step=0):
    """A point with the update that Adam's first step takes from there."""
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    p = Point(task, w, tree.place(task.source(stream(seed, "data"))(w), "cpu", torch.float64), step, seed=seed)
    optimizer = Ema() >> Rms() >> Lr(0.01)
    return p.after(*optimizer.update(p.grad, optimizer.init(w), p), optimizer)


def calibrated(values, errors, truth, low=0.85, high=1.15):
    """The mean of repetitions is the truth, and the stated error is their standard deviation."""
    x, e = (torch.tensor(v, dtype=torch.float64) for v in (values, errors))
    assert abs(float(x.mean()) - truth) < 3.5 * float(x.std()) / len(x) ** 0.5, (float(x.mean()), truth)
    assert low < float(e.square().mean().sqrt() / x.std()) < high


# --- sharpness ------------------------------------------------------------------------------------------------


def test_a_network_in_training_is_followed_at_three_products_and_one_per_cent():
    task, notes, probe, products, misses = Net(), {}, Sharpness(), [], []
    w = task.init(stream(0, "init"))
    for step in range(150):
        p = Point(task, w, task.batch(), step, notes=notes)
        if step % 10 == 0:
            found = probe(p)
            products.append(p.cost["hvp"])
            values = torch.linalg.eigvalsh(dense(p))
            misses.append(abs(found["sharpness"] / float(values[-1]) - 1))
            assert float((values - found["sharpness"]).abs().min()) <= found["sharpness_error"] * (1 + 1e-9) + 1e-12
        w = tree.add(w, p.grad, -0.3)
    assert products[0] <= probe.products
    assert sum(products[1:]) / len(products[1:]) <= 4
    assert sorted(misses)[len(misses) // 2] < 0.01
    assert max(misses) < 0.05


def test_several_eigenvalues_and_the_smallest():
    task = Net()
    p = Point(task, task.init(stream(0, "init")), task.batch())
    values = torch.linalg.eigvalsh(dense(p)).tolist()
    assert values[0] < 0, "the test needs a saddle"
    probe = Sharpness(products=30, top=3, smallest=True)
    found, p = probe(p), replace(p, cost=p.cost.copy())
    names = ("sharpness", "eigenvalue/2", "eigenvalue/3", "smallest_eigenvalue")
    for name, value in zip(names, (*values[:-4:-1], values[0]), strict=True):
        assert found[name] == pytest.approx(value, rel=1e-3), name
        assert found[name.replace("/", "_error/") if "/" in name else f"{name}_error"] < 0.1 * abs(value)
    p.cost.clear()
    probe(p)
    assert p.cost["hvp"] <= 10, "seven for three eigenvalues and three for the smallest"


def test_a_batch_in_pieces_has_the_sharpness_of_the_whole():
    task = Net()
    whole = Point(task, task.init(stream(0, "init")), task.batch())
    cut = whole.on(Pieces(tuple(tuple(x[a:b] for x in whole.batch) for a, b in ((0, 7), (7, 32), (32, 40)))))
    found = [Sharpness()(q)["sharpness"] for q in (whole, replace(cut, notes={}))]
    assert found[1] == pytest.approx(found[0], rel=1e-9)


def test_a_part_of_the_weights_has_its_own_sharpness_and_notes():
    task = Net()
    p = Point(task, task.init(stream(0, "init")), task.batch())
    h, start = dense(p), 0
    Sharpness()(p)
    for name, x in p.w.items():
        block = h[start : start + x.numel(), start : start + x.numel()]
        found = Sharpness(20)(p.only([name]))["sharpness"]
        assert found == pytest.approx(float(torch.linalg.eigvalsh(block)[-1]), rel=1e-3), name
        start += x.numel()
    p.cost.clear()
    Sharpness()(p)
    assert p.cost["hvp"] <= 4, "what was found for the whole is still there"


def test_the_bound_holds_in_single_precision():
    task = Net()
    p = Point(task, task.init(stream(0, "init")), task.batch())
    values = torch.linalg.eigvalsh(dense(p))
    found = Sharpness(40)(Point(task, *tree.place((p.w, p.batch), "cpu", torch.float32)))
    assert float((values - found["sharpness"]).abs().min()) <= 10 * found["sharpness_error"]
    assert 0 < found["sharpness_error"] < 1e-4


@pytest.mark.parametrize("wrong", [{"products": 2}, {"top": 0}, {"top": 6}])
def test_too_few_products_are_a_sentence(wrong):
    with pytest.raises(ValueError, match=r"at least 2 top \+ 1"):
        Sharpness(**wrong)


# --- adaptive sharpness ---------------------------------------------------------------------------------------


def test_only_the_adaptive_sharpness_is_one_of_the_function():
    """`W1 -> a W1` with its bias, `W2 -> W2 / a` around a ReLU: another point, the same function."""
    task = Net(relu=True)
    w = task.init(stream(0, "init"))
    p = Point(task, w, task.batch())
    q = Point(task, {"one": 5 * w["one"], "bias": 5 * w["bias"], "two": w["two"] / 5}, task.batch())
    assert float(p.loss) == pytest.approx(float(q.loss))
    here, there = (AdaptiveSharpness(30)(x)["adaptive_sharpness"] for x in (p, q))
    size = tree.flat(p.w).abs()
    assert here == pytest.approx(float(torch.linalg.eigvalsh(size[:, None] * dense(p) * size)[-1]), rel=1e-5)
    assert there == pytest.approx(here, rel=1e-5)
    plain = [Sharpness(30)(replace(x, notes={}))["sharpness"] for x in (p, q)]
    assert plain[1] > 3 * plain[0]


# --- batch sharpness ------------------------------------------------------------------------------------------


def test_batch_sharpness_is_the_mean_over_batches_of_their_own_curvature():
    task, n = Regression(), 4000
    w = {"w": torch.ones(task.dim, dtype=torch.float64)}
    x, y = task.draw(stream(0, "all"), n * task.batch)
    x, y = x.view(n, task.batch, -1), y.view(n, task.batch)
    g = torch.einsum("nbd,nb->nd", x, x @ w["w"] - y) / task.batch
    curved = (torch.einsum("nbd,nd->nb", x, g).square().sum(1) / task.batch) / g.square().sum(1)
    found = []
    for seed in range(250):
        own = task.source(stream(seed, "data"))(w)
        found.append(BatchSharpness(4)(Point(task, w, own, seed=seed)))
    values, errors = ([f[k] for f in found] for k in ("batch_sharpness", "batch_sharpness_error"))
    calibrated(values, errors, float(curved.mean()))
    g_all = (x @ w["w"] - y).flatten() @ x.flatten(0, 1) / y.numel()
    whole = float((x.flatten(0, 1) @ g_all).square().mean() / g_all.square().sum())
    assert float(curved.mean()) > 1.2 * whole, "a batch's gradient leans to where its own curvature is large"


def test_batch_sharpness_asks_as_many_batches_as_it_says():
    task = Regression()
    w = {"w": torch.ones(task.dim, dtype=torch.float64)}
    p = Point(task, w, task.source(stream(0, "data"))(w))
    one = BatchSharpness(1)(p)
    assert math.isnan(one["batch_sharpness_error"])
    assert p.cost == {"grad": 1, "hvp": 1}
    BatchSharpness(3)(replace(p, memo={}))
    assert p.cost == {"grad": 4, "hvp": 4}


def test_a_batch_in_pieces_is_compared_with_others_of_as_many():
    task, n = Regression(), 3
    w = {"w": torch.ones(task.dim, dtype=torch.float64)}
    draw = task.source(stream(0, "data"))
    p = Point(task, w, Pieces(tuple(draw(w) for _ in range(n))))
    other = p.fresh("other").batch
    assert isinstance(other, Pieces)
    assert len(other.batches) == n
    drawn = torch.stack([x for x, _ in (*p.batch.batches, *other.batches)])
    assert len(drawn.flatten(0, 1).unique(dim=0)) == 2 * n * task.batch, "all examples are independent"


def test_at_twice_its_inverse_a_gradient_step_leaves_the_batch_where_it_was():
    """`L(w - t g) - L(w) = -t |g|^2 + t^2 g' H g / 2` on a batch of least squares: the edge is `t = 2 / sharpness`."""
    task = Regression()
    w = {"w": torch.ones(task.dim, dtype=torch.float64)}
    for seed in range(5):
        p = Point(task, w, task.source(stream(seed, "data"))(w))
        rate = 2 / BatchSharpness(1)(p)["batch_sharpness"]
        assert float(p.at(tree.add(w, p.grad, -rate)).loss) == pytest.approx(float(p.loss))
        assert float(p.at(tree.add(w, p.grad, -0.9 * rate)).loss) < float(p.loss)


@dataclass(frozen=True)
class Classes:
    """Squared loss of a small `tanh` network on 200 examples, from which batches are drawn without replacement."""

    batch: int

    def init(self, rng):
        return {k: torch.randn(m, n, generator=rng) / n**0.5 for k, m, n in (("a", 32, 8), ("b", 32, 32), ("c", 4, 32))}

    def data(self):
        rng = stream(0, "classes")
        x, a, b = (torch.randn(s, generator=rng) for s in ((200, 8), (8, 16), (16, 4)))
        return x, torch.nn.functional.one_hot((torch.tanh(0.7 * x @ a) @ b).argmax(1), 4).float()

    def source(self, rng):
        x, y = self.data()

        def draw(w):
            i = torch.randperm(len(x), generator=rng)[: self.batch]
            return x[i], y[i]

        return draw

    def losses(self, w, batch):
        h = torch.tanh(torch.tanh(batch[0] @ w["a"].T) @ w["b"].T)
        return (h @ w["c"].T - batch[1]).square().sum(1) / 2


@pytest.mark.slow
def test_minibatch_descent_goes_to_the_edge_by_its_batch_sharpness_and_not_by_the_whole_loss():
    """In units of 2 / rate: 1 within 12 % at a quarter of the data, where both agree; at 8 examples the batches' is
    far nearer to it."""
    found, rate = {}, 0.3
    for batch in (50, 8):
        task, notes, rows = Classes(batch), {}, []
        w, draw = task.init(stream(0, "init")), task.source(stream(0, "data"))
        for step in range(6000):
            p = Point(task, w, draw(w), step, notes=notes)
            if step >= 3000 and step % 100 == 0:
                whole = Sharpness()(p.on(task.data()))["sharpness"]
                rows.append((BatchSharpness(8)(p)["batch_sharpness"], whole))
            w = tree.add(w, p.grad, -rate)
        found[batch] = (torch.tensor(rows) * rate / 2).mean(0).tolist()
    assert found[50][0] == pytest.approx(1, abs=0.12)
    assert found[50][1] == pytest.approx(1, abs=0.12)
    assert found[8][0] > 1.2 * found[8][1]
    assert found[8][1] < 0.7


# --- directional sharpness ------------------------------------------------------------------------------------


def test_fresh_batches_see_the_whole_loss_and_the_own_batch_does_not():
    task = Quadratic(SPECTRUM, "random", noise=3.0, batch=4)
    own = DirectionalSharpness(fresh=True, batches=4)
    found = {}
    for seed in range(300):
        p = at(task, seed)
        for k, x in own(p).items():
            found.setdefault(k, []).append(x)
        h = task.hessian()
        for k, x in own.on_quadratic(p, h).items():
            found.setdefault(f"true {k}", []).append(x)
    for k in ("predicted_decrease", "actual_decrease", "gain"):
        truth, seen = (torch.tensor(found[f"{a}{k}"], dtype=torch.float64) for a in ("true ", "fresh_"))
        errors = torch.tensor(found[f"fresh_{k}_error"], dtype=torch.float64)
        gap = seen - truth
        assert abs(float(gap.mean())) < 3.5 * float(gap.std()) / len(gap) ** 0.5, k
        assert 0.85 < float(errors.square().mean().sqrt() / gap.std()) < 1.25, k
        same = torch.tensor(found[k], dtype=torch.float64) - truth
        assert float(same.mean()) > 5 * float(same.std()) / len(same) ** 0.5, f"{k}: the own batch flatters"
    assert found["fresh_directional_sharpness"] == pytest.approx(found["true directional_sharpness"])


def test_curvature_of_batches_that_differ_is_unbiased_with_its_error():
    task = Regression(batch=4)
    w = {"w": torch.ones(task.dim, dtype=torch.float64)}
    h = torch.diag(1 / torch.arange(1, task.dim + 1, dtype=torch.float64))
    values, errors, gaps, gains = [], [], [], []
    for seed in range(300):
        p = Point(task, w, task.source(stream(seed, "data"))(w), seed=seed)
        p = p.after(tree.each(lambda x: 0.1 * x, p.grad), None)
        u, found = p.u["w"], DirectionalSharpness(fresh=True, batches=5)(p)
        values.append(found["fresh_directional_sharpness"] - float(u @ h @ u / (u @ u)))
        errors.append(found["fresh_directional_sharpness_error"])
        gain = float(u @ h @ w["w"]) ** 2 / (2 * float(u @ h @ u))
        gains.append((found["fresh_gain"] - gain, found["fresh_gain_error"]))
        gaps.append(found["directional_sharpness"] - float(u @ h @ u / (u @ u)))
    calibrated(values, errors, 0.0)
    calibrated(*zip(*gains, strict=True), 0.0, 0.8, 1.25)
    assert sum(gaps) / len(gaps) > 0.2, "along its own gradient a batch is more curved than the whole"


def test_predicted_and_actual_part_where_the_loss_is_no_parabola():
    f = Line(lambda x: x**4)
    p = Point(f, {"x": torch.tensor(1.0, dtype=torch.float64)}, None)
    found = DirectionalSharpness()(p.after({"x": torch.tensor(0.5, dtype=torch.float64)}, None))
    assert found["directional_sharpness"] == pytest.approx(12)
    assert found["predicted_decrease"] == pytest.approx(4 * 0.5 - 12 * 0.25 / 2)
    assert found["actual_decrease"] == pytest.approx(1 - 0.5**4)
    assert found["gain"] == pytest.approx(16 / 24)


def test_two_batches_tell_no_error():
    with pytest.raises(ValueError, match="at least 3"):
        DirectionalSharpness(fresh=True, batches=2)


# --- the loss along the update --------------------------------------------------------------------------------


def along(f, x, u, **fields):
    p = Point(Line(f), {"x": torch.tensor(x, dtype=torch.float64)}, None)
    return LossAlongUpdate(**fields)(p.after({"x": torch.tensor(u, dtype=torch.float64)}, None)), p.cost


@pytest.mark.parametrize("best", [0.001, 0.1, 0.25, 0.7, 1.0, 3.0, 40.0])
def test_the_best_multiple_of_a_parabola_is_exact(best):
    found, cost = along(lambda x: (x - 1) ** 2 + 5, 1 + best, 1.0)
    assert found["best_multiple"] == pytest.approx(best, rel=1e-6)
    assert found["critical_multiple"] == pytest.approx(2 * best, rel=1e-6)
    assert found["loss_along_update/0"] == pytest.approx(best**2 + 5)
    assert found["loss_along_update/1.5"] == pytest.approx((best - 1.5) ** 2 + 5)
    assert set(cost) == {"loss"}, "forward passes alone"


@pytest.mark.parametrize("scale", [0.03, 0.3, 1.0, 5.0])
def test_elsewhere_a_few_passes_come_near(scale):
    """A valley with a steep and a shallow side: minimum at 0.6, back at the height of the start at the root."""

    def f(x):
        y = (1 - x) / scale  # the place along the ray
        return torch.exp(-2.5 * y) + torch.exp(2.5 * (y - 1.2)) * 2

    found, cost = along(f, 1.0, 1.0)
    y = torch.linspace(0, 3, 300_001, dtype=torch.float64)
    curve = f(1 - scale * y)
    best = float(y[curve.argmin()]) * scale
    critical = float(y[1:][curve[1:] > curve[0]][0]) * scale
    assert found["best_multiple"] == pytest.approx(best, rel=0.02)
    assert found["critical_multiple"] == pytest.approx(critical, rel=0.02)
    assert cost["loss"] <= LossAlongUpdate().cost["loss"]


def test_ends_of_the_line():
    assert along(lambda x: -x, 0.0, -1.0)[0]["best_multiple"] == math.inf, "falls as far as it is followed"
    uphill = along(lambda x: x**2, 1.0, -1.0)[0]
    assert uphill["best_multiple"] == uphill["critical_multiple"] == 0
    flat = along(lambda x: 0 * x, 1.0, 1.0)[0]
    assert 0 <= flat["best_multiple"] < math.inf
    wall = along(lambda x: 2 * (x - 0.3) ** 2 - 0.1 * torch.log(x + 0.5), 1.0, 1.0)[0]
    assert math.isnan(wall["loss_along_update/2"]), "beyond the wall there is no loss"
    assert 0 < wall["best_multiple"] < wall["critical_multiple"] < 1.5


def test_the_wall_is_found_where_the_loss_is_no_number():
    found = along(lambda x: torch.where(x > -0.1, (x - 0.2) ** 2, math.nan), 1.0, 1.0)[0]
    assert found["best_multiple"] == pytest.approx(0.8, rel=1e-3)
    assert 1.05 < found["critical_multiple"] < 1.2


def test_a_fresh_batch_does_not_flatter_the_step():
    task = Quadratic(SPECTRUM, "random", noise=3.0, batch=4)
    own, fresh = [], []
    for seed in range(60):
        p = at(task, seed)
        own.append(LossAlongUpdate((1.0, 2.0))(p))
        fresh.append(LossAlongUpdate((1.0, 2.0), fresh=True)(p))
    fall = [[f["loss_along_update/0"] - f["loss_along_update/1"] for f in kind] for kind in (own, fresh)]
    assert sum(fall[0]) > 2 * abs(sum(fall[1]))


def test_multiples_out_of_order_are_a_sentence():
    for wrong in ((1.0,), (2.0, 1.0), (0.0, 1.0), (1.0, 1.0)):
        with pytest.raises(ValueError, match="positive and ascending"):
            LossAlongUpdate(wrong)
    with pytest.raises(ValueError, match="has no update"):
        LossAlongUpdate()(Point(Line(lambda x: x), {"x": torch.ones(())}, None))
