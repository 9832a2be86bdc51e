"""What assumptions are compared with, in numbers, beside the average over random coordinates and random updates."""

import dataclasses
import inspect
import math

import numpy as np
import pytest
import torch
from walk import public

from adamantine import tree
from adamantine.checking.measured import Measured
from adamantine.explaining.own_basis import turned
from adamantine.optim.hadamard import Hadamard
from adamantine.optim.rotations import haar
from adamantine.point import Point, stream
from adamantine.tasks.quadratic import Quadratic

ASSUMPTIONS = public("adamantine.assume", lambda x: inspect.isclass(x) and hasattr(x, "statement"))
WITH_NULL = [x for x in ASSUMPTIONS if hasattr(x, "under_null")]
DRAWS = 150


@dataclasses.dataclass(frozen=True)
class Noisy:
    """Linear in the weights, with gradients of examples that have a covariance of low rank."""

    rows: torch.Tensor = dataclasses.field(compare=False, repr=False)

    def losses(self, w, batch):
        return self.rows[batch] @ tree.flat(w)


def curved():
    """A matrix and a vector, positive curvature of different sizes; gradient and update."""
    values = tuple(float(x) for x in np.geomspace(0.3, 3, 72))
    task = Quadratic(values, "identity", matrix=(8, 6))
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    p = Point(task, w, task.source(stream(0, "data"))(w).double())
    return p.after({k: x.sign() * 0.1 + 0.01 for k, x in p.grad.items()}, (), None), task.hessian()


def scattered():
    """Sixty examples whose gradients have few large coordinates."""
    w = {"m": torch.zeros(8, 6, dtype=torch.float64), "v": torch.zeros(24, dtype=torch.float64)}
    rows = torch.randn(60, 72, generator=stream(0, "rows"), dtype=torch.float64) * torch.linspace(0.1, 3, 72)
    return Point(Noisy(rows), w, torch.arange(60)), rows


def scrambled(kind, i):
    """The closed form where Hessian, gradients and examples are turned at random, and the update is random."""
    q, r = (haar(72, 2 * i + j, torch.float64, torch.device("cpu")) for j in range(2))
    if hasattr(kind, "on_examples"):
        p, g = scattered()
        return kind().on_examples(p, g @ q.T)
    p, h = curved()
    u = tree.like(r @ tree.flat(p.u), p.w)
    here = p.given(tree.like(q @ tree.flat(p.grad), p.w), p.w)
    return kind().on_quadratic(dataclasses.replace(here, u=u), q @ h @ q.T)


def on_average(kind):
    p = scattered()[0] if hasattr(kind, "on_examples") else curved()[0]
    told = [kind().under_null(dataclasses.replace(p, step=i, memo={})) for i in range(20)]
    return {k: float(np.mean([x[k] for x in told])) for k in told[0]}


@pytest.mark.parametrize("kind", [x for x in WITH_NULL if x.__name__ != "HeavyTails"], ids=lambda x: x.__name__)
def test_a_null_is_the_average_over_random_coordinates(kind):
    found = [scrambled(kind, i) for i in range(DRAWS)]
    for name, value in on_average(kind).items():
        if name not in found[0]:  # of single tensors
            continue
        x = np.array([f[name] for f in found])
        slack = 4 * x.std() / math.sqrt(DRAWS) + 0.08 * abs(x.mean())  # for what holds of many coordinates only
        assert value == pytest.approx(x.mean(), abs=slack), f"{kind.__name__}: {name}"


def test_the_null_of_tails_is_normal_noise_of_the_same_covariance():
    kind = next(x for x in WITH_NULL if x.__name__ == "HeavyTails")
    p, rows = scattered()
    root = torch.linalg.cholesky(torch.cov(rows.T, correction=0) + 1e-12 * torch.eye(72, dtype=torch.float64))
    found = []
    for i in range(60):
        drawn = torch.randn(60, 72, generator=stream(i, "normal"), dtype=torch.float64) @ root.T
        x = drawn.norm(dim=1).sort(descending=True).values
        found.append(1 / float((x[:6] / x[6]).log().mean()))
    assert on_average(kind)["tail_index"] == pytest.approx(np.mean(found), rel=0.1)
    # Of heavy tails the index is far below.
    heavy = Noisy(rows * torch.rand(60, 1, generator=stream(0, "u"), dtype=torch.float64) ** -0.7)
    q = dataclasses.replace(p, task=heavy, memo={})
    assert kind()(q)["tail_index"] < 0.6 * kind().under_null(q)["tail_index"]


def test_there_are_nulls():
    assert len(WITH_NULL) >= 9


@pytest.mark.parametrize("name", ["MaxNormSmoothness", "OneOneNorm", "AdaptiveSmoothness"])
def test_without_a_closed_form_the_null_is_measured_in_a_random_basis(name):
    p, _ = curved()
    kind = next(x for x in ASSUMPTIONS if x.__name__ == name)
    found, there = Measured(kind())(p), kind()(turned(p, (Hadamard("all"),)))
    assert found[f"{name}/null"] == pytest.approx(next(iter(there.values())))
    assert found[f"{name}/null"] > 1.5 * found[f"{name}/value"], "a diagonal Hessian is the best basis"


def test_what_no_rotation_changes_has_no_measured_null():
    smooth = next(x for x in ASSUMPTIONS if x.__name__ == "Smoothness")
    assert set(Measured(smooth())(curved()[0])) == {"Smoothness/value"}
