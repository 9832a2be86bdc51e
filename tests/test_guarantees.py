"""Theorems, found by walking: never violated on problems with known constants, attained where they say so."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from walk import public

from adamantine import tightness
from adamantine.claims import guarantees as claim
from adamantine.guarantees.adagrad_norm import AdagradNorm
from adamantine.guarantees.adam import AdamWithoutMomentum
from adamantine.guarantees.adam_momentum import AdamWithMomentum
from adamantine.guarantees.convex_descent import ConvexDescent
from adamantine.guarantees.gradient_descent import GradientDescent
from adamantine.guarantees.heavy_ball import HeavyBall
from adamantine.guarantees.noiseless_adam import NoiselessAdam
from adamantine.guarantees.noisy_descent import NoisyDescent
from adamantine.guarantees.noisy_sign_descent import NoisySignDescent
from adamantine.guarantees.normalized_descent import NormalizedDescent
from adamantine.guarantees.polyak_lojasiewicz_descent import PolyakLojasiewiczDescent
from adamantine.guarantees.sign_descent import SignDescent
from adamantine.guarantees.spectral_descent import SpectralDescent
from adamantine.guarantees.strong_growth_descent import StrongGrowthDescent
from adamantine.guarantees.strongly_convex_descent import StronglyConvexDescent
from adamantine.optim.lr import Lr
from adamantine.point import Point, stream
from adamantine.probes.gradient_norms import GradientNorms
from adamantine.result import Result, Results
from adamantine.run import Diverged, Row, Run
from adamantine.tasks.fixed import Fixed
from adamantine.tasks.quadratic import Quadratic
from adamantine.whole import BatchNoise, OnAll

THEOREMS = public("adamantine.guarantees", lambda x: inspect.isclass(x) and is_dataclass(x) and "__call__" in vars(x))
QUANTITIES = {
    "mean_squared_gradient", "mean_gradient_l1", "mean_gradient_norm", "mean_gradient_nuclear", "suboptimality",
    "weighted_squared_gradient",
    "squared_distance",
}  # fmt: skip
SEEDS = range(25)
SLACK = 1 + 1e-9


@pytest.mark.parametrize("kind", THEOREMS, ids=lambda k: k.__name__)
def test_a_theorem_states_itself_and_asks_for_what_it_needs(kind):
    theorem = kind()
    assert "<=" in theorem.statement
    assert theorem.source
    assert theorem.bounds in QUANTITIES
    assert theorem.optimizer
    assert len(inspect.getdoc(kind) or "") > 100
    some = dict.fromkeys(theorem.assumes, 0.5)
    some |= {"steps": 10.0, "rate": 0.01}
    bound = theorem(some)
    assert bound > 0
    assert theorem({**some, "steps": 40.0}) <= bound or theorem.optimizer == "Adam", "more steps, a smaller bound"
    for name in theorem.assumes:
        with pytest.raises(ValueError, match=f"{kind.__name__}: the constant '{name}' is missing"):
            theorem({k: x for k, x in some.items() if k != name})
        with pytest.raises(ValueError, match="is no number"):
            theorem({**some, name: math.nan})


def test_there_are_theorems():
    assert len(THEOREMS) >= 12


# --- problems with known constants --------------------------------------------------------------------------------


@dataclass
class Problem:
    """`f`, its gradient, least value and minimizer, and its exact constants."""

    f: Callable[[Any], float]
    grad: Callable[[Any], Any]
    best: float
    end: np.ndarray
    constants: dict[str, float]


def quadratic(seed, d=6):
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(d, d))).Q
    eigenvalues = np.exp(rng.normal(size=d) * 1.5)
    h = (q * eigenvalues) @ q.T
    signs = np.array(np.meshgrid(*[[-1, 1]] * d)).reshape(d, -1)
    constants = {
        "smoothness": float(eigenvalues.max()),
        "strong_convexity": float(eigenvalues.min()),
        "polyak_lojasiewicz": float(eigenvalues.min()),
        "max_norm_smoothness": float(np.abs(h @ signs).sum(0).max()),
        "l0": float(eigenvalues.max()),
        "l1": 0.0,
    }
    return Problem(lambda x: 0.5 * x @ h @ x, lambda x: h @ x, 0.0, np.zeros(d), constants)


def logistic(seed, n=30, d=4):
    """A logistic regression with a ridge, minimized by Newton's method."""
    rng = np.random.default_rng(seed)
    a, y = rng.normal(size=(n, d)), rng.choice([-1.0, 1.0], n)
    z, ridge = a * y[:, None], 0.01

    def f(x):
        return float(np.logaddexp(0, -z @ x).mean() + ridge / 2 * x @ x)

    def grad(x):
        return -(z.T @ (1 / (1 + np.exp(z @ x)))) / n + ridge * x

    end = np.zeros(d)
    for _ in range(50):
        s = 1 / (1 + np.exp(-z @ end))
        h = (z.T * (s * (1 - s))) @ z / n + ridge * np.eye(d)
        end = end - np.linalg.solve(h, grad(end))
    most = a.T @ a / (4 * n) + ridge * np.eye(d)  # bounds every Hessian
    signs = np.array(np.meshgrid(*[[-1, 1]] * d)).reshape(d, -1)
    largest = float(np.linalg.eigvalsh(most)[-1])
    constants = {
        "smoothness": largest,
        "strong_convexity": ridge,
        "polyak_lojasiewicz": ridge,
        # Sign vectors maximize the quadratic form of a positive semidefinite bound too.
        "max_norm_smoothness": float(np.einsum("is,ij,js->s", signs, most, signs).max()),
        "l0": largest,
        "l1": 0.0,
    }
    return Problem(f, grad, f(end), end, constants)


PROBLEMS = [quadratic(s) for s in SEEDS] + [logistic(s) for s in SEEDS]


def walk(p, x, rate, steps, direction):
    """Measured quantities of `x <- x - rate direction(g)`."""
    start, distance, grads = p.f(x) - p.best, float(np.linalg.norm(x - p.end)), []
    for _ in range(steps):
        g = p.grad(x)
        grads.append(g)
        x = x - rate * direction(g)
    g = np.array(grads)
    return {
        "start": start,
        "distance": distance,
        "steps": steps,
        "rate": rate,
        "mean_squared_gradient": float((g**2).sum(1).mean()),
        "mean_gradient_l1": float(np.abs(g).sum(1).mean()),
        "mean_gradient_norm": float(np.linalg.norm(g, axis=1).mean()),
        "suboptimality": p.f(x) - p.best,
        "squared_distance": float(((x - p.end) ** 2).sum()),
    }


def plain(g):
    return g


def ratios(theorem, direction, rates):
    """Measured over bound for every problem, start and rate for which the theorem says something."""
    out = []
    for i, p in enumerate(PROBLEMS):
        rng = np.random.default_rng(i)
        for share in rates:
            for steps in (1, 7, 60):
                rate = share / p.constants["smoothness"]
                if direction is not plain:
                    rate = share
                found = walk(p, p.end + rng.normal(size=len(p.end)), rate, steps, direction)
                bound = theorem({**p.constants, **found})
                if math.isfinite(bound):
                    out.append(found[theorem.bounds] / bound if bound > 1e-12 else 0.0)
    return np.array(out)


DESCENTS = [GradientDescent(), PolyakLojasiewiczDescent(), ConvexDescent(), StronglyConvexDescent()]


@pytest.mark.parametrize("theorem", DESCENTS, ids=repr)
def test_gradient_descent_never_violates_its_bounds(theorem):
    found = ratios(theorem, plain, (0.05, 0.5, 1.0, 1.5, 1.9))
    assert len(found) > 200
    assert found.max() <= SLACK


def test_sign_and_normalized_descent_never_violate_their_bounds():
    assert ratios(SignDescent(), np.sign, (0.01, 0.1, 1.0)).max() <= SLACK
    assert ratios(NormalizedDescent(), lambda g: g / np.linalg.norm(g), (0.01, 0.1, 1.0)).max() <= SLACK


def test_half_the_constant_is_found_out():
    """The check bites: with half of L, bounds are violated."""
    violated = 0
    for p in PROBLEMS[: len(SEEDS)]:
        x = p.end + np.random.default_rng(0).normal(size=len(p.end))
        found = walk(p, x, 1.9 / p.constants["smoothness"], 60, plain)
        wrong = {**p.constants, "smoothness": p.constants["smoothness"] / 2}
        violated += found["mean_squared_gradient"] > GradientDescent()({**wrong, **found})
    assert violated > 5


def test_bounds_are_attained_where_they_say_so():
    one = Problem(lambda x: float(x @ x), lambda x: 2 * x, 0.0, np.zeros(1), {"smoothness": 2.0, "l0": 2.0, "l1": 0.0})
    one.constants |= {"polyak_lojasiewicz": 2.0, "strong_convexity": 2.0, "max_norm_smoothness": 2.0}
    x = np.array([3.0])
    found = walk(one, x, 0.5, 1, plain)
    assert GradientDescent()({**one.constants, **found}) == pytest.approx(found["mean_squared_gradient"])
    found = walk(one, x, 0.13, 9, plain)
    assert PolyakLojasiewiczDescent()({**one.constants, **found}) == pytest.approx(found["suboptimality"])
    assert StronglyConvexDescent()({**one.constants, **found}) == pytest.approx(found["squared_distance"])
    found = walk(one, x, 3.0, 1, np.sign)
    assert SignDescent()({**one.constants, **found}) == pytest.approx(found["mean_gradient_l1"])
    assert NormalizedDescent()({**one.constants, **found}) == pytest.approx(found["mean_gradient_norm"])


@pytest.mark.parametrize(("share", "steps"), [(1.0, 1), (1.0, 20), (0.4, 50)])
def test_the_convex_bound_is_attained_by_a_huber_function(share, steps):
    """Drori & Teboulle (2014): quadratic up to a width, linear beyond, which descent never leaves."""
    smoothness, distance = 2.0, 5.0
    rate, width = share / smoothness, distance / (2 * share * steps + 1)

    def f(x):
        r = abs(float(x[0]))
        return smoothness * r**2 / 2 if r < width else smoothness * (width * r - width**2 / 2)

    def grad(x):
        return smoothness * np.clip(x, -width, width)

    p = Problem(f, grad, 0.0, np.zeros(1), {"smoothness": smoothness})
    found = walk(p, np.array([distance]), rate, steps, plain)
    assert ConvexDescent()({**p.constants, **found}) == pytest.approx(found["suboptimality"], rel=1e-9)


def test_heavy_ball_is_bounded_and_the_bound_attained():
    for seed in SEEDS:
        p = quadratic(seed)
        rng, c = np.random.default_rng(seed), p.constants
        rate, momentum = 1.0 / c["smoothness"], 0.7
        before = x = rng.normal(size=6)
        first = float(x @ x) ** 0.5
        for _ in range(30):
            before, x = x, x - rate * p.grad(x) + momentum * (x - before)
        told = {**c, "rate": rate, "momentum": momentum, "steps": 30, "distance": first}
        assert float(x @ x) <= HeavyBall()(told) * SLACK
    same = {"smoothness": 1.0, "strong_convexity": 1.0, "rate": 0.5, "momentum": 0.6, "steps": 12, "distance": 2.0}
    before = x = 2.0
    for _ in range(12):
        before, x = x, x - 0.5 * x + 0.6 * (x - before)
    assert HeavyBall()(same) == pytest.approx(x**2, rel=1e-4)


def test_heavy_ball_may_lead_away_before_it_converges():
    """At a stable rate one step multiplies the steepest distance by 1.5; beyond `2 (1 + momentum) / L` all is lost."""
    told = {"smoothness": 1.0, "strong_convexity": 0.1, "rate": 2.5, "momentum": 0.7, "distance": 1.0}
    assert HeavyBall()({**told, "steps": 1}) == pytest.approx(1.5**2, rel=1e-4)
    assert HeavyBall()({**told, "steps": 200}) < 1e-6
    assert HeavyBall()({**told, "rate": 3.41, "steps": 1}) == math.inf


def test_normalized_descent_under_smoothness_that_grows_with_the_gradient():
    """`cosh x`, whose curvature is at most `1 + |f'|`: `L0 = 2`, `L1 = e - 1`. Without `L1` the bound is violated."""
    wrong = 0
    for x in np.random.default_rng(0).uniform(1, 6, 12):
        for rate in (0.05, 0.3, 0.58):
            for steps in (1, 7, 60):
                p = Problem(lambda x: float(np.cosh(x[0])), np.sinh, 1.0, np.zeros(1), {"l0": 2.0, "l1": math.e - 1})
                found = walk(p, np.array([x]), rate, steps, np.sign)
                assert found["mean_gradient_norm"] <= NormalizedDescent()({**p.constants, **found}) * SLACK
                wrong += found["mean_gradient_norm"] > NormalizedDescent()({"l0": 1.0, "l1": 0.0, **found})
    assert wrong > 20
    assert NormalizedDescent()({"l0": 1.0, "l1": 2.0, "rate": 0.51, "steps": 1, "start": 1}) == math.inf


def test_adagrad_norm_is_bounded_at_every_rate():
    worst = 0.0
    for i, p in enumerate(PROBLEMS):
        for rate in (0.05, 1.0, 20.0):
            x = p.end + np.random.default_rng(i).normal(size=len(p.end))
            start, b2, total = p.f(x) - p.best, 0.01, 0.0
            for _ in range(50):
                g = p.grad(x)
                b2, total = b2 + g @ g, total + g @ g
                x = x - rate * g / b2**0.5
            bound = AdagradNorm()({**p.constants, "b0": 0.1, "rate": rate, "steps": 50, "start": start})
            assert math.isfinite(bound)
            worst = max(worst, total / 50 / bound)
    assert worst <= SLACK
    assert worst > 0.01, "a bound that is never near says nothing"


def test_spectral_descent_is_bounded_and_attained():
    """`f(X) = |A X - B|_F^2 / 2`: `|A'A D|_nuclear <= |A'A|_nuclear |D|_op`."""
    worst = 0.0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        a, b, x = rng.normal(size=(6, 4)), rng.normal(size=(6, 3)), rng.normal(size=(4, 3))
        end = np.linalg.lstsq(a, b, rcond=None)[0]
        least = ((a @ end - b) ** 2).sum() / 2
        smoothness = float(np.linalg.norm(a.T @ a, "nuc"))
        for rate in (0.01, 0.1, 1.0):
            y, start, norms = x, ((a @ x - b) ** 2).sum() / 2 - least, []
            for _ in range(20):
                g = a.T @ (a @ y - b)
                u, s, v = np.linalg.svd(g, full_matrices=False)
                norms.append(s.sum())
                y = y - rate * u @ v
            bound = SpectralDescent()({"spectral_smoothness": smoothness, "rate": rate, "steps": 20, "start": start})
            worst = max(worst, np.mean(norms) / bound)
    assert worst <= SLACK
    a, x = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    a /= np.linalg.norm(a, "nuc")
    inner = float((a * x).sum())
    u, s, v = np.linalg.svd(3.0 * inner * a, full_matrices=False)
    after = x - abs(inner) * u @ v
    assert float((a * after).sum()) == pytest.approx(0.0, abs=1e-12)  # one step to the minimum
    told = {"spectral_smoothness": 3.0, "rate": abs(inner), "steps": 1, "start": 3.0 * inner**2 / 2}
    assert SpectralDescent()(told) == pytest.approx(s.sum())


# --- noise: bounds on expectations, over many runs -----------------------------------------------------------------


def noisy(p, x, rate, steps, direction, noise, rng, runs=400):
    x = np.repeat(x[None], runs, 0)
    grads = []
    for _ in range(steps):
        g = np.array([p.grad(row) for row in x])
        grads.append(g)
        x = x - rate * direction(noise(g, rng))
    g = np.array(grads)
    return (g**2).sum(2).mean(0), np.abs(g).sum(2).mean(0)


def below(measured, bound):
    """The mean over runs, less four standard errors, lies below the bound."""
    assert measured.mean() - 4 * measured.std() / len(measured) ** 0.5 <= bound


def test_noisy_descents_stay_below_their_bounds():
    for seed in range(6):
        p, rng = quadratic(seed), np.random.default_rng(seed)
        x, c = rng.normal(size=6), p.constants
        for share in (0.1, 1.0):
            told = {**c, "rate": share / c["smoothness"], "steps": 20, "start": p.f(x)}
            squares, _ = noisy(p, x, told["rate"], 20, plain, lambda g, r: g + r.normal(size=g.shape), rng)
            below(squares, NoisyDescent()({**told, "batch_variance": 6.0}))
            grown = {**told, "rate": told["rate"] / 3, "batch_growth": 3.0}  # g (1 + s): E |g|^2 = 3 |grad f|^2
            squares, _ = noisy(
                p, x, grown["rate"], 20, plain, lambda g, r: g * (1 + 2**0.5 * r.normal(size=(len(g), 1))), rng
            )
            below(squares, StrongGrowthDescent()(grown))
        for rate in (0.01, 0.1):
            told = {**c, "rate": rate, "steps": 20, "start": p.f(x), "batch_noise_l1": 6.0}
            _, sums = noisy(p, x, rate, 20, np.sign, lambda g, r: g + r.normal(size=g.shape), rng)
            below(sums, NoisySignDescent()(told))


@pytest.mark.parametrize("share", [0.2, 1.0, 1.7])
def test_noisy_bounds_are_attained_on_one_parabola(share):
    """The second moment of `x` obeys `m <- ((1 - a)^2 + (rho - 1) a^2) m + rate^2 sigma^2`, `a = L rate`, exactly."""
    smoothness, variance, steps = 3.0, 2.0, 5000
    told = {"smoothness": smoothness, "rate": share / smoothness, "steps": steps}
    m, squares = 1.0, 0.0
    for _ in range(steps):
        squares += smoothness**2 * m / steps
        m = (1 - share) ** 2 * m + told["rate"] ** 2 * variance
    bound = NoisyDescent()({**told, "start": smoothness / 2, "batch_variance": variance})
    assert 0.99 * bound <= squares <= bound
    told["rate"], rho, m, squares = told["rate"] / 3, 3.0, 1.0, 0.0
    for _ in range(steps):
        squares += smoothness**2 * m / steps
        m *= (1 - share / 3) ** 2 + (rho - 1) * (share / 3) ** 2
    bound = StrongGrowthDescent()({**told, "start": smoothness / 2, "batch_growth": rho})
    assert squares == pytest.approx(bound)


def test_noise_that_turns_the_sign_reaches_half_of_the_bound():
    """Noise of -1 with a probability above one half, and of mean 0, drives the gradient up to 1."""
    wrong, rate, steps, rng = 0.55, 0.005, 3000, np.random.default_rng(0)
    x, sums = np.full(100, 1.0), np.zeros(100)
    for _ in range(steps):
        sums += np.abs(x) / steps
        noise = np.where(rng.random(100) < wrong, -1.0, wrong / (1 - wrong))
        x = x - rate * np.sign(x + np.sign(x) * noise)
    told = {"max_norm_smoothness": 1.0, "batch_noise_l1": (wrong / (1 - wrong)) ** 0.5, "rate": rate}
    bound = NoisySignDescent()({**told, "steps": steps, "start": 0.5})
    assert 0.42 * bound < sums.mean() < bound


def test_adagrad_norm_is_attained_from_a_large_first_sum():
    smoothness, b0, x = 2.0, 1e3, 1.5
    rate = (b0**2 + (smoothness * x) ** 2) ** 0.5 / smoothness  # one step to the minimum
    told = {"smoothness": smoothness, "b0": b0, "rate": rate, "steps": 1, "start": smoothness * x**2 / 2}
    assert AdagradNorm()(told) == pytest.approx((smoothness * x) ** 2, rel=1e-4)


def adam(p, x, beta2, eps, rate, steps, noise):
    """Means over steps of `|grad f|^2`, one a run, and the constants; `noise(shape)` is added to gradients."""
    start, v, squares, largest = p.f(x[0]) - p.best, np.zeros_like(x), [], 0.0
    for t in range(1, steps + 1):
        g = np.array([p.grad(row) for row in x])
        squares.append((g**2).sum(1))
        g = g + noise(g.shape)
        largest = max(largest, float(np.abs(g).max()))
        v = beta2 * v + (1 - beta2) * g**2
        x = x - rate * g / (np.sqrt(v / (1 - beta2**t)) + eps)
    told = {"bounded_gradient": largest, "dimension": x.shape[1], "beta2": beta2, "eps": eps, "rate": rate}
    return np.mean(squares, 0), {**p.constants, **told, "steps": steps, "start": start}


@pytest.mark.parametrize("beta2", [0.5, 0.99])
def test_adam_stays_below_its_bounds(beta2):
    factors = []
    for i, p in enumerate(PROBLEMS[::5]):
        x = p.end + np.random.default_rng(i).normal(size=(1, len(p.end)))
        for rate in (0.001, 0.03, 0.3):
            for eps in (1e-8, 1e-2):
                squares, told = adam(p, x, beta2, eps, rate, 60, np.zeros)
                noiseless, noisy = NoiselessAdam()(told), AdamWithoutMomentum()(told)
                assert squares[0] <= noiseless <= noisy, "without noise the bound is smaller"
                factors.append(noiseless / squares[0])
    assert min(factors) < 3, "near at small rates, or a wrong bound could hide"


def test_adam_stays_below_its_bound_with_noise():
    for seed in range(4):
        p, rng = logistic(seed), np.random.default_rng(seed)
        x = np.repeat(rng.normal(size=(1, 4)), 200, 0)
        squares, told = adam(p, x, 0.9, 1e-4, 0.01, 40, lambda shape, r=rng: r.uniform(-1, 1, shape))
        below(squares, AdamWithoutMomentum()(told))


def adam_with_momentum(p, x, beta1, beta2, rate, steps, noise, eps=1e-4):
    """The weighted means of `|grad f|^2`, one a run, and the constants."""
    start, m, v, squares, largest = p.f(x[0]) - p.best, np.zeros_like(x), np.zeros_like(x), [], 0.0
    for t in range(1, steps + 1):
        g = np.array([p.grad(row) for row in x])
        squares.append((g**2).sum(1))
        g = g + noise(g.shape)
        largest = max(largest, float(np.abs(g).max()))
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        x = x - rate * m / (np.sqrt(v / (1 - beta2**t)) + eps)
    told = {"bounded_gradient": largest, "dimension": x.shape[1], "beta1": beta1, "beta2": beta2, "eps": eps}
    weights = 1 - beta1 ** np.arange(steps, 0, -1.0)
    return np.average(squares, 0, weights), {**p.constants, **told, "rate": rate, "steps": steps, "start": start}


@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.9), (0.5, 0.9), (0.9, 0.99)])
def test_adam_with_momentum_stays_below_its_bound(beta1, beta2):
    for i, p in enumerate(PROBLEMS[::5]):
        x = p.end + np.random.default_rng(i).normal(size=(1, len(p.end)))
        for rate in (1e-4, 0.001, 0.03, 0.3):
            squares, told = adam_with_momentum(p, x, beta1, beta2, rate, 60, np.zeros)
            assert squares[0] <= AdamWithMomentum()(told)
    p, rng = logistic(0), np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(1, 4)), 200, 0)
    squares, told = adam_with_momentum(p, x, beta1, beta2, 0.01, 40, lambda shape: rng.uniform(-1, 1, shape))
    below(squares, AdamWithMomentum()(told))


def test_adam_with_momentum_knows_its_limits_and_its_neighbour():
    told = dict.fromkeys(AdamWithMomentum.assumes, 0.5) | {"beta1": 0.0, "beta2": 0.9, "steps": 50.0, "rate": 1e-5}
    with_, without = AdamWithMomentum()(told), AdamWithoutMomentum()(told)
    start = 2 * 0.5 * (0.5 + 0.5 / math.sqrt(0.1)) / (50 * 1e-5)
    assert with_ > without > start
    assert (with_ - start) / (without - start) == pytest.approx(3, rel=1e-3), "the noise term's 12 to 4"
    assert AdamWithMomentum()({**told, "beta1": 0.95}) == math.inf
    assert AdamWithMomentum()({**told, "beta1": 0.89, "steps": 8.0}) == math.inf, "T' is negative"


# --- the claim: what it measures of a run --------------------------------------------------------------------------


def executed(wanted: Callable[[Results], list[Run]]) -> Results:
    """All runs asked for, until no new ones are."""
    results = Results()
    while missing := [r for r in wanted(results) if results.get(r) is None]:
        for run in missing:
            events = list(run.events())
            status = "diverged" if any(isinstance(e, Diverged) for e in events) else "done"
            results.add(Result(results.key(run), status, tuple(e for e in events if isinstance(e, Row))))
    return results


def test_sparse_rows_of_constants_do_not_blur_what_happened():
    """With rows 25 steps apart the bound of descent on a quadratic, whose constants are exact, still holds."""
    whole = claim.groups("tiny")["quadratic"][0]
    arm = replace(whole.arms[0], grid=(0.25, 0.5, 1.0))
    c = replace(whole, arms=(arm,), steps=100, every=25)
    results = executed(lambda known: [*c.runs(known), *tightness.paths(c, arm, known)])
    descent, rate = claim.THEOREMS[0], c.tuned(arm, results).best
    assert len(tightness.looseness(c, descent, results)) == 3
    assert min(tightness.looseness(c, descent, results)) >= -1e-4
    for r, path in tightness.found(c, arm.name, results):
        assert len(r.series("gradient_l2")[0]) == 5
        assert len(path.series("gradient_l2")[0]) == 100
        assert path.last("held_out") == r.last("held_out"), "probes leave the path as it is"
        sparse = float(np.mean(r.series("gradient_l2")[1] ** 2))
        told = tightness.constants(c, r, path, rate or math.nan)
        assert sparse > descent.bound(told), "a mean of rows lies above the bound of the mean of steps"
    assert tightness.silent(c, descent, results) == [1.0] * 3
    beyond = replace(c, arms=(replace(arm, grid=(2.1, 2.1**2, 2.1**3)),), steps=3, every=1)  # curvature is at most 1
    results = executed(lambda known: [*beyond.runs(known), *tightness.paths(beyond, beyond.arms[0], known)])
    assert tightness.silent(beyond, descent, results) == [0.0] * 3
    assert tightness.looseness(beyond, descent, results) == [math.inf] * 3


def test_a_loss_that_rounding_took_to_zero_is_no_missing_number():
    c = claim.groups("tiny")["quadratic"][0]
    names = ["gradient_l2", "gradient_max", "loss", "smoothness", *(key for _, key, _ in tightness.NORMS.values())]
    rows = tuple(Row(i, name, value) for name in dict.fromkeys(names) for i, value in enumerate((2.0, 0.0)))
    r = Result("", "done", rows)
    told = tightness.constants(c, r, r, 0.1)
    assert told["polyak_lojasiewicz"] == 1.0  # 2^2 / (2 2)
    assert told["own l1"] == math.inf
    assert told["start"] == told["smoothness"] == 2.0
    assert all(tightness.bound(t, told) >= 0 for t in claim.THEOREMS)


def test_the_noise_of_batches_is_that_of_all_batches_and_changes_no_path():
    task = Fixed(Quadratic((1.0, 2.0, 3.0), noise=1.0, batch=4), batches=5, at_once=1)
    w = {k: x.double() for k, x in task.init(stream(0, "init")).items()}
    examples = [b.double() for b in task.examples]
    p = Point(task, w, examples[0])
    g = torch.stack([Quadratic((1.0, 2.0, 3.0)).hessian().double() @ w["w"] + b.mean(0) for b in examples])
    found, mean = BatchNoise()(p), g.mean(0)
    assert found["gradient_l2"] == pytest.approx(float(mean.norm()), rel=1e-6)
    assert found["gradient_max"] == pytest.approx(float(g.abs().max()), rel=1e-6)
    assert found["batch_variance"] == pytest.approx(float((g - mean).square().sum(1).mean()), rel=1e-6)
    assert found["batch_growth"] == pytest.approx(1 + found["batch_variance"] / float(mean.square().sum()), rel=1e-6)
    assert found["batch_noise_l1"] == pytest.approx(float((g - mean).square().mean(0).sqrt().sum()), rel=1e-6)
    assert found["whole_loss"] == pytest.approx(float(torch.stack([p.on(b).loss for b in examples]).mean()))
    assert OnAll(GradientNorms())(p)["gradient_l1"] == pytest.approx(float(mean.abs().sum()), rel=1e-6)
    ends = [
        [e.value for e in replace(Run(task, Lr(0.1), 6, 0, every=1), probes=probes).events() if isinstance(e, Row)][-1]
        for probes in ((), (BatchNoise(),))
    ]
    assert ends[0] == ends[1]
    with pytest.raises(TypeError, match="no fixed examples"):
        BatchNoise()(Point(Quadratic(), w, None))


def test_with_noise_the_bounds_of_the_claim_hold_in_the_mean():
    """A perceptron at small rates, a batch of its examples at a step."""
    group = claim.groups("tiny")["perceptron, in batches"]
    assert {t.name for t in claim.theorems(group)} == {t.name for t in claim.NOISY}
    (c,) = group
    assert {a.name for a in c.arms} == {t.arm for t in claim.NOISY}
    arm = c.arm(claim.DESCENT)
    small = replace(c, arms=(replace(arm, grid=(0.01, 0.02, 0.04)),), steps=40, every=5)
    results = executed(lambda known: [*small.runs(known), *tightness.paths(small, small.arms[0], known)])
    for t in claim.NOISY[:2]:
        assert min(tightness.looseness(small, t, results)) > 0
    told = [tightness.constants(small, r, path, 0.01) for r, path in tightness.found(small, arm.name, results)]
    assert all(x["batch_growth"] >= 1 and x["batch_variance"] > 0 for x in told)
