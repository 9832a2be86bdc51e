"""Updates, momenta and second moments beside weights and gradients: closed forms, and no bias where noise is known."""

import math
from dataclasses import dataclass

import pytest
import torch

from adamantine import tree
from adamantine.live import FIRST, SECOND, Moment
from adamantine.optim.adam import adamw
from adamantine.optim.eigenbasis import Eigenbasis
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.optim.sgd import sgd
from adamantine.point import Point, stream
from adamantine.probes.density import GradientDensity
from adamantine.probes.moment_spread import MomentSpread
from adamantine.probes.momentum_cosine import MomentumCosine
from adamantine.probes.orthogonality import UpdateOrthogonality, noise_spread
from adamantine.probes.update_ratio import UpdateRatio
from adamantine.tasks.quadratic import Quadratic


class Still:
    """A loss without interest."""

    def losses(self, w, batch):
        return tree.flat(w).double().square().sum()[None] / 2


def moved(w, u, s=None, optimizer=None):
    return Point(Still(), w, None).after(u, s, optimizer)


# --- update over weights --------------------------------------------------------------------------------------


def test_ratio_and_angle_of_known_triangles():
    w = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([0.0, 4.0, 0.0]), "zero": torch.zeros(2)}
    u = {"a": torch.tensor([[0.0, -3.0]]), "b": torch.tensor([0.0, 6.0, 0.0]), "zero": torch.ones(2)}
    found = UpdateRatio()(moved(w, u))
    assert found["update_ratio/a"] == pytest.approx(1.0)
    assert found["angle/a"] == pytest.approx(math.pi / 4)
    assert found["update_ratio/b"] == pytest.approx(1.5)
    assert found["angle/b"] == pytest.approx(math.pi), "a step beyond zero turns the tensor round"
    assert math.isnan(found["update_ratio/zero"])
    assert math.isnan(found["angle/zero"])
    assert found["update_ratio"] == pytest.approx(math.sqrt(47) / 5)
    assert found["angle"] == pytest.approx(math.acos((9 - 8) / (5 * math.sqrt(9 + 9 + 4 + 2))), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_small_angles_are_not_lost_in_rounding(dtype):
    """A cosine in single precision cannot tell an angle of 1e-5 from zero."""
    rng = stream(0, "angle")
    w = torch.randn(300, 200, generator=rng).to(dtype)
    u = torch.randn(300, 200, generator=rng) * 1e-5
    a, b = w.double().flatten(), u.double().flatten()
    exact = (b - a * (a @ b) / (a @ a)).norm() / (a.norm() - (a @ b) / a.norm())
    found = UpdateRatio()(moved({"w": w}, {"w": u}))
    assert found["angle"] == pytest.approx(float(exact.arctan()), rel=1e-5)
    assert found["update_ratio"] == pytest.approx(float(b.norm() / a.norm()), rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_rotational_equilibrium(beta):
    """Gradient descent with decay on weights of no scale, with gradients that are noise: the closed form."""
    rate, decay, rng = 0.05, 0.02, stream(0, "equilibrium")
    w, m, angles = torch.randn(400, generator=rng, dtype=torch.float64), 0.0, []
    w *= (rate * 400 / (2 * decay)) ** 0.25 * (1 - beta) ** -0.25 / w.norm()
    for step in range(3000):
        g = torch.randn(400, generator=rng, dtype=torch.float64)
        size = w.norm()
        m = beta * m + (g - w * (w @ g) / size**2) / size + decay * w
        u = rate * m
        if step > 1500:
            angles.append(UpdateRatio()(moved({"w": w}, {"w": u}))["angle"])
        w = w - u
    expected = math.sqrt(2 * rate * decay / (1 + beta))
    assert torch.tensor(angles).square().mean().sqrt() == pytest.approx(expected, rel=0.03)


def test_ratio_needs_an_update():
    with pytest.raises(ValueError, match="UpdateRatio: the point has no update; measure it in a Run"):
        UpdateRatio()(Point(Still(), {"w": torch.ones(2)}, None))


# --- momentum and gradient ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noisy:
    """A linear loss whose gradient is `slope` plus noise of variance `noise^2 / rows` a coordinate."""

    slope: tuple[float, ...]
    noise: float = 1.0
    rows: int = 1

    def source(self, rng):
        shape = (self.rows, len(self.slope))
        return lambda w: torch.tensor(self.slope) + self.noise * torch.randn(shape, generator=rng)

    def losses(self, w, batch):
        return batch.double() @ tree.flat(w)


@dataclass(frozen=True)
class Holds:
    """An optimizer that has `value` for its average."""

    value: dict
    kind: str = FIRST
    units: tuple[str, ...] = ()

    def moments(self, s, w):
        return (Moment(self.kind, self.value, 1, units=self.units),)


def test_cosine_with_the_gradient_of_the_batch_by_tensor():
    w = {"a": torch.zeros(2, dtype=torch.float64), "b": torch.zeros(1, dtype=torch.float64)}
    m = {"a": torch.tensor([1.0, 1.0], dtype=torch.float64), "b": torch.tensor([-2.0], dtype=torch.float64)}
    p = Point(Noisy((3.0, 0.0, 4.0), 0.0), w, torch.tensor([[3.0, 0.0, 4.0]])).after(w, None, Holds(m))
    found = MomentumCosine()(p)
    assert found["momentum_cosine/a"] == pytest.approx(math.sqrt(0.5))
    assert found["momentum_cosine/b"] == pytest.approx(-1.0)
    assert found["momentum_cosine"] == pytest.approx((3 - 8) / (5 * math.sqrt(6)))
    half = MomentumCosine()(p.after(w, None, Holds({"b": m["b"]})))
    assert half == pytest.approx({"momentum_cosine": -1.0, "momentum_cosine/b": -1.0})


def test_cosine_with_the_whole_gradient_has_no_bias_and_an_honest_error():
    """Noise of half the square of the gradient in every batch."""
    n, draws = 100, 400
    g = torch.randn(n, generator=stream(0, "slope"), dtype=torch.float64)
    m = g + torch.randn(n, generator=stream(1, "slope"), dtype=torch.float64)
    task, w = Noisy(tuple(g.tolist()), 0.7), {"w": torch.zeros(n, dtype=torch.float64)}
    exact = float(m @ g / (m.norm() * g.norm()))
    probe, values, errors, plain = MomentumCosine(fresh=True), [], [], []
    for step in range(draws):
        p = Point(task, w, task.source(stream(step, "batch"))(w), step).after(w, None, Holds({"w": m}))
        found = probe(p)
        values.append(found["fresh_momentum_cosine"])
        errors.append(found["fresh_momentum_cosine_error"])
        plain.append(found["momentum_cosine"])
    x = torch.tensor(values)
    assert abs(float(x.mean()) - exact) < 4 * float(x.std()) / draws**0.5
    assert 0.8 < float(torch.tensor(errors).square().mean().sqrt() / x.std()) < 1.3
    assert float(torch.tensor(plain).mean()) < 0.9 * exact, "noise lowers the plain one"
    assert found["fresh_momentum_cosine/w"] == pytest.approx(found["fresh_momentum_cosine"])


@pytest.mark.parametrize("optimizer", [Eigenbasis(Ema() >> Rms()), adamw(0.01), sgd(0.01, 0.9)], ids=str)
def test_momentum_is_found_in_the_coordinates_of_the_weights(optimizer):
    """The average of equal gradients is the gradient, in whatever basis it is kept."""
    task = Quadratic((3.0, 2.0, 1.0, 0.5, 0.2, 0.1), "random", matrix=(3, 2))
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    p, s = Point(task, w, tree.place(task.source(stream(0, "data"))(w), "cpu", torch.float64)), optimizer.init(w)
    for _ in range(3):
        u, s = optimizer.update(p.grad, s, p)
    p = p.after(u, s, optimizer)
    assert MomentumCosine()(p)["momentum_cosine"] == pytest.approx(1.0, abs=1e-6)


def test_where_there_is_no_momentum_there_is_a_sentence():
    w = {"w": torch.ones(2)}
    with pytest.raises(ValueError, match="the point knows no optimizer"):
        MomentumCosine()(moved(w, w))
    for held in (Holds({}), Holds(w, SECOND), Holds(w, units=("scaled",))):
        with pytest.raises(ValueError, match="holds no average of gradients"):
            MomentumCosine()(moved(w, w, None, held))


# --- orthogonality of the update ------------------------------------------------------------------------------


def test_known_updates():
    rng = stream(0, "orthogonal")
    q = torch.linalg.qr(torch.randn(30, 10, generator=rng, dtype=torch.float64)).Q
    one = torch.outer(torch.randn(12, generator=rng), torch.randn(30, generator=rng))
    u = {"orthogonal": q, "one": one, "filters": 3.0 * q.T.reshape(10, 5, 3, 2), "vector": torch.ones(4)}
    u |= {"column": torch.ones(5, 1), "none": torch.zeros(3, 2)}
    found = UpdateOrthogonality()(moved(u, u))
    assert {k.partition("/")[2] for k in found} == {"", "orthogonal", "one", "filters", "none"}
    for k in ("orthogonal", "filters"):
        assert found[f"nuclear_rank/{k}"] == pytest.approx(10.0)
        assert found[f"orthogonality/{k}"] == pytest.approx(1.0)
        assert found[f"singular_spread/{k}"] == pytest.approx(0.0, abs=1e-6)
        assert found[f"excess_spread/{k}"] == pytest.approx(-noise_spread(1 / 3))
    assert found["nuclear_rank/one"] == pytest.approx(1.0, rel=1e-5)
    assert found["singular_spread/one"] == pytest.approx(math.sqrt(11), rel=1e-5)
    assert math.isnan(found["nuclear_rank/none"])
    assert found["nuclear_rank"] == pytest.approx(7.0, rel=1e-5), "what has no update is not in the mean"


@pytest.mark.parametrize(("ratio", "spread"), [(1.0, 0.6228), (0.5, 0.386), (0.25, 0.2606)])
def test_noise_has_no_excess(ratio, spread):
    assert noise_spread(ratio) == pytest.approx(spread, rel=1e-3)
    u = {"w": torch.randn(round(200 * ratio), 200, generator=stream(0, "noise")) * 1e-6}
    found = UpdateOrthogonality()(moved(u, u))
    s = torch.linalg.svdvals(u["w"].double())
    assert found["singular_spread"] == pytest.approx(float(s.std(correction=0) / s.mean()))
    assert abs(found["excess_spread"]) < 0.01


def test_the_noise_of_a_square_is_known_in_closed_form():
    assert noise_spread(1.0) == pytest.approx(math.sqrt((3 * math.pi / 8) ** 2 - 1), rel=1e-7)


def test_orthogonality_needs_the_update_of_a_matrix():
    with pytest.raises(ValueError, match="UpdateOrthogonality: the point has no update"):
        UpdateOrthogonality()(Point(Still(), {"w": torch.ones(2, 2)}, None))
    vectors = {"b": torch.ones(2), "c": torch.ones(())}
    with pytest.raises(ValueError, match="none of b, c is a matrix"):
        UpdateOrthogonality()(moved(vectors, vectors))


# --- spread of the second moment ------------------------------------------------------------------------------


def test_spread_of_known_moments():
    v = {"a": torch.tensor([[1e-6, 1e-4]]), "flat": torch.full((4,), 1e-30), "zero": torch.zeros(2)}
    v["some"] = torch.tensor([0.0, 1.0, 1.0, 100.0])
    w = {**{k: torch.ones_like(x) for k, x in v.items()}, "none": torch.ones(3)}
    found = MomentSpread()(moved(w, w, None, Holds(v, SECOND)))
    assert found["moment_spread/a"] == pytest.approx(1.0)
    assert found["moment_rank/a"] == pytest.approx(1.01e-4**2 / (1e-12 + 1e-8))
    assert found["moment_spread/flat"] == pytest.approx(0.0, abs=1e-6)
    assert found["moment_rank/flat"] == pytest.approx(4.0), "squares below the least single-precision number"
    assert math.isnan(found["moment_spread/zero"])
    assert (found["moment_zeros/zero"], found["moment_zeros/some"], found["moment_zeros/a"]) == (1.0, 0.25, 0.0)
    assert found["moment_spread/some"] == pytest.approx(2 * math.sqrt(2) / 3)
    assert "moment_spread/none" not in found
    every = torch.tensor([-6.0, -4.0, *[-30.0] * 4, 0.0, 0.0, 2.0])
    assert found["moment_spread"] == pytest.approx(float(every.std(correction=0)), rel=1e-6)
    assert found["moment_zeros"] == pytest.approx(3 / 12)
    assert found["moment_rank"] == pytest.approx(102**2 / 10002, rel=1e-5)


def test_the_rank_of_the_moment_is_at_least_that_of_the_gradients():
    """Correlated Gaussian gradients, and the basis in which they are independent, where both are the same."""
    values = torch.arange(1, 21, dtype=torch.float64) ** -1.0
    q = torch.linalg.qr(torch.randn(20, 20, generator=stream(0, "basis"), dtype=torch.float64)).Q
    rank = float(values.sum() ** 2 / values.square().sum())

    def found(c):
        v = {"w": c.diagonal()}
        return MomentSpread()(moved(v, v, None, Holds(v, SECOND)))["moment_rank"]

    assert found(values.diag()) == pytest.approx(rank)
    assert found(q @ values.diag() @ q.T) > 1.2 * rank


def test_without_a_second_moment_there_is_a_sentence():
    w = {"w": torch.ones(2)}
    with pytest.raises(ValueError, match="MomentSpread: the point knows no optimizer"):
        MomentSpread()(moved(w, w))
    with pytest.raises(ValueError, match="holds no second moment"):
        MomentSpread()(moved(w, w, None, Holds(w, FIRST)))


# --- density of the gradient ----------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_fresh_density_is_what_the_signs_of_a_batch_find(noise):
    """The sign of `G_i` with Gaussian noise is right with the mean `erf(|G_i| / (noise sqrt(2)))`."""
    n, draws = 200, 400
    g = torch.randn(n, generator=stream(0, "slope"), dtype=torch.float64)
    task, w = Noisy(tuple(g.tolist()), noise), {"w": torch.zeros(n, dtype=torch.float64)}
    kept = (g.abs() * (g.abs() / (noise * math.sqrt(2))).erf()).sum()
    exact, probe = float(kept**2 / (n * g.square().sum())), GradientDensity(fresh=True)
    found = [probe(Point(task, w, task.source(stream(i, "batch"))(w), i)) for i in range(draws)]
    x = torch.tensor([f["fresh_gradient_density"] for f in found])
    errors = torch.tensor([f["fresh_gradient_density_error"] for f in found])
    assert abs(float(x.mean()) - exact) < 4 * float(x.std()) / draws**0.5
    assert 0.8 < float(errors.square().mean().sqrt() / x.std()) < 1.3
    assert exact < float(g.abs().sum() ** 2 / (n * g.square().sum()))


def test_density_in_half_precision_does_not_overflow():
    g = {"w": torch.full((70_000,), 2.0, dtype=torch.float16)}
    assert GradientDensity()(moved(g, g).given(g))["gradient_density"] == pytest.approx(1.0)
