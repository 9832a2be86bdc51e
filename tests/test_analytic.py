"""Every closed form of the analytic tasks, against autograd or simulation."""

import math

import pytest
import torch

from adamantine import tree
from adamantine.optim.sgd import sgd
from adamantine.point import Point, stream
from adamantine.run import Row, Run, Trained
from adamantine.tasks.linear import DeepLinear
from adamantine.tasks.logistic import HeavyTailedLogistic
from adamantine.tasks.quadratic import Quadratic, power_law
from adamantine.tasks.scalar import TwoLayerScalar


def point(task, w=None):
    w = tree.place(w or task.init(stream(0, "init")), "cpu", torch.float64)
    batch = tree.place(task.source(stream(0, "data"))(w), "cpu", torch.float64)
    return Point(task, w, batch)


def dense_hessian(p):
    eye = torch.eye(tree.size(p.w), dtype=torch.float64)
    return torch.stack([tree.flat(p.hvp(tree.like(row, p.w))) for row in eye])


@pytest.mark.parametrize("basis", ["identity", "random"])
@pytest.mark.parametrize("matrix", [None, (3, 4), (2, 3)])
def test_quadratic(basis, matrix):
    task = Quadratic(power_law(12, 0.7, 3.0), basis, matrix=matrix)
    p = point(task)
    assert torch.allclose(dense_hessian(p), task.hessian())
    assert torch.allclose(torch.linalg.eigvalsh(task.hessian()).flip(0), torch.tensor(task.eigenvalues).double())
    assert float(p.loss) == pytest.approx(task.value(p.w))
    w = p.w
    for _ in range(7):
        w = tree.add(w, p.at(w).grad, -0.3)
    assert all(torch.allclose(x, task.after(p.w, 0.3, 7)[k]) for k, x in w.items())


def test_quadratic_noise_and_stationary_loss():
    task = Quadratic((2.0, 0.5), noise=1.5, batch=4)
    noisy = Point(task, {"w": torch.zeros(2)}, task.source(stream(0, "x"))({}))
    assert torch.allclose(noisy.each_grad()["w"], 1.5 * noisy.batch)
    run = Run(task, sgd(0.2), steps=6_000, every=6_000, score_every=5)
    values = [r.value for r in run.events() if isinstance(r, Row) and r.name == "held_out"][40:]
    # Successive scores are correlated over about 1 / (rate lambda) = 10 steps.
    error = 2 * torch.tensor(values).std() / (len(values) / 4) ** 0.5
    assert abs(sum(values) / len(values) - task.stationary(0.2)) < 4 * float(error)
    assert task.stationary(1.0) == math.inf
    assert Quadratic((1.0, -1.0)).minimum() == -math.inf


def test_heavy_tailed_classes():
    task = HeavyTailedLogistic(4)
    p = point(task)
    counts = task.counts()
    assert (int(counts.sum()), task.classes, task.dim) == (4 * 16, 15, 80)
    assert counts.tolist()[:3] == [16, 8, 8]
    assert float(p.loss) == pytest.approx(task.start())
    assert torch.allclose(p.grad["head"], task.gradient_at_zero().double(), atol=1e-7)
    probes = [torch.randint(2, (15, 80), generator=stream(i, "probe")).double() * 2 - 1 for i in range(400)]
    quadratic = torch.stack([tree.dot({"head": v}, p.hvp({"head": v})) for v in probes])
    assert abs(float(quadratic.mean()) - task.trace_at_zero()) < 4 * float(quadratic.std()) / 20
    scores = task.score({k: x.float() for k, x in p.w.items()})
    assert scores["group3"] == pytest.approx(task.start())
    w = task.init(stream(0, "init"))
    while (late := task.score(w))["group0"] > 0.5:
        w = tree.add(w, Point(task, w, task.source(stream(0, "data"))(w)).grad, -0.1)
    assert late["group3"] > 1.5 * late["group0"], "gradient descent leaves the rare classes behind"
    for _ in range(3000):
        w = tree.add(w, Point(task, w, task.source(stream(0, "data"))(w)).grad, -3.0)
    assert task.minimum() < task.score(w)["held_out"] < 0.01


def test_deep_linear():
    task = DeepLinear((4, 2, 5, 3))
    p = point(task)
    assert all(torch.allclose(p.grad[k], g) for k, g in task.gradient(p.w).items())
    assert float(p.loss) == pytest.approx(task.score(p.w)["held_out"])
    w, start = p.w, task.imbalance(p.w)
    for _ in range(30_000):
        w = tree.add(w, task.gradient(w), -0.004)
    assert task.score(w)["held_out"] == pytest.approx(task.minimum(), abs=1e-3)
    assert task.minimum() == 0.5
    for before, after in zip(start, task.imbalance(w), strict=True):
        assert float((after - before).abs().max()) < 0.05  # exact for the flow; the step is finite


def test_two_layer_scalar():
    task = TwoLayerScalar()
    p = point(task)
    assert torch.allclose(dense_hessian(p), task.hessian(2.0, 0.25))
    at = point(task, {"a": torch.tensor([2.0]), "b": torch.tensor([0.5])})
    assert float(at.loss) == task.minimum()
    assert float(torch.linalg.eigvalsh(dense_hessian(at))[-1]) == pytest.approx(task.sharpness_at_minimum(2.0))
    w = p.w
    for _ in range(10_000):
        w = tree.add(w, p.at(w).grad, -2e-3)
    assert task.conserved(float(w["a"]), float(w["b"])) == pytest.approx(task.conserved(2.0, 0.25), rel=1e-2)
    assert task.score(w)["held_out"] < 1e-10


def test_a_catapult_lands_in_a_flatter_minimum():
    """From sharpness s at rate 3 / s, above the edge of stability and below 4 / s, to one below 2 / rate."""
    task = TwoLayerScalar(y=0.0, start=(3.0, 0.1))
    sharpness = 3.0**2 + 0.1**2
    *_, last = Run(task, sgd(3.0 / sharpness), steps=300, dtype="float64").events()
    assert isinstance(last, Trained)
    end = last.w
    assert task.score(end)["held_out"] < 1e-12
    assert task.score(end)["sharpness"] < 2 * sharpness / 3
    diverging = list(Run(task, sgd(4.5 / sharpness), steps=300).events())
    assert type(diverging[-1]).__name__ == "Diverged"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Quadratic(basis="skew"), "basis"),
        (lambda: Quadratic((1.0,), matrix=(2, 2)), "matrix"),
        (lambda: HeavyTailedLogistic(0), "groups"),
        (lambda: DeepLinear((3,)), "widths"),
        (lambda: DeepLinear((2, 2), (1.0, 1.0, 1.0)), "singular"),
        (lambda: TwoLayerScalar(batch=0), "batch"),
    ],
)
def test_impossible_tasks_are_refused_in_a_sentence(make, says):
    with pytest.raises(ValueError, match=says):
        make()
