"""What is known of training dynamics in closed form, met by runs of our optimizers and measured by our probes.

python -m pytest -m slow tests/test_acceptance_physics.py
"""

import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch

from adamantine.optim.adam import adam, adamw
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema, Momentum
from adamantine.probes.preconditioned_sharpness import PreconditionedSharpness
from adamantine.probes.sharpness import Sharpness
from adamantine.run import Diverged, Row, Run

pytestmark = pytest.mark.slow


@cache
def teacher():
    """1,000 normal vectors of 32 numbers, and the class of each by a random network, as ten numbers 0 or 1."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 32, generator=rng)
    first, second = (torch.randn(32, n, generator=rng) / 32**0.5 for n in (32, 10))
    return x, torch.nn.functional.one_hot((torch.tanh(2 * x @ first) @ second).argmax(1), 10).float()


@dataclass(frozen=True)
class FullBatch:
    """A tanh network 32-64-64-10 on all of the teacher's examples at every step, half the squared distance."""

    sizes = (32, 64, 64, 10)

    def init(self, rng):
        w = {}
        for i, (n, m) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            w[f"w{i}"] = (2 * torch.rand(m, n, generator=rng) - 1) / n**0.5
            w[f"b{i}"] = (2 * torch.rand(m, generator=rng) - 1) / n**0.5
        return w

    def source(self, rng):
        return lambda w: teacher()

    def losses(self, w, batch):
        x, y = batch
        for i in range(3):
            x = torch.nn.functional.linear(x, w[f"w{i}"], w[f"b{i}"])
            x = torch.tanh(x) if i < 2 else x
        return 0.5 * (x - y).square().sum(1)

    def score(self, w):
        return {}


def measured(optimizer, steps, name, *probes, every=50):
    """The mean of what `name` was over the last third of training."""
    run = Run(FullBatch(), optimizer, steps, every=every, probes=probes)
    events = list(run.events())
    assert not any(isinstance(x, Diverged) for x in events)
    rows = [x.value for x in events if isinstance(x, Row) and x.name == name]
    return sum(rows[-len(rows) // 3 :]) / len(rows[-len(rows) // 3 :])


def test_gradient_descent_settles_at_the_edge():
    """Sharpness times rate is 2 (Cohen et al., arXiv:2103.00065)."""
    assert 0.2 * measured(Lr(0.2), 6000, "sharpness", Sharpness()) == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize(("beta", "rate"), [(0.0, 5e-4), (0.5, 1e-3), (0.9, 1e-3)])
def test_adam_settles_at_its_own_edge(beta, rate):
    """Preconditioned sharpness, rate included, is `2 (1 + beta) / (1 - beta)` (arXiv:2207.14484)."""
    found = measured(adam(rate, beta), 5000, "preconditioned_sharpness", PreconditionedSharpness())
    assert found == pytest.approx(2 * (1 + beta) / (1 - beta), rel=0.03)


@pytest.mark.parametrize(("nesterov", "rate", "threshold"), [(False, 0.5, 2 * 1.9), (True, 0.15, 2 * 1.9 / 2.8)])
def test_momentum_settles_at_its_own_edge(nesterov, rate, threshold):
    """Sharpness times rate is `2 (1 + beta)` with heavy-ball, `2 (1 + beta) / (1 + 2 beta)` with Nesterov momentum."""
    optimizer = Momentum(0.9, nesterov) >> Lr(rate)
    assert rate * measured(optimizer, 2500, "sharpness", Sharpness(), every=25) == pytest.approx(threshold, rel=0.03)


# --- noise ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoisyBowl:
    """`copies` independent weights on each parabola, their gradients with normal noise of size `noise`."""

    curvature: tuple[float, ...] = (2.0, 1.0, 0.3, 0.1)
    noise: float = 0.5
    copies: int = 20_000

    def init(self, rng):
        return {"w": torch.zeros(self.copies, len(self.curvature))}

    def source(self, rng):
        return lambda w: self.noise * torch.randn(w["w"].shape, generator=rng)

    def losses(self, w, batch):
        h = torch.tensor(self.curvature).to(w["w"])
        return (0.5 * h * w["w"].square() + batch * w["w"]).sum()[None]

    def score(self, w):
        return {}


def trained(task, optimizer, steps, **more):
    """The last event."""
    *_, last = Run(task, optimizer, steps, every=steps, **more).events()
    return last


@pytest.mark.parametrize(
    ("optimizer", "variance"),
    [
        (Lr(0.4), lambda h: 0.4 / (h * (2 - 0.4 * h))),
        (Momentum(0.8) >> Lr(0.2), lambda h: 0.2 * 1.8 / (0.2 * h * (2 * 1.8 - 0.2 * h))),
        (Ema(0.8, debias=False) >> Lr(0.4), lambda h: 0.4 * 1.8 / (h * (2 * 1.8 - 0.4 * 0.2 * h))),
    ],
    ids=("sgd", "heavy-ball", "average"),
)
def test_weights_spread_by_the_stationary_variance(optimizer, variance):
    """Of `rate sigma^2 / (h (2 - rate h))` and its counterparts with momentum, within four standard errors."""
    task = NoisyBowl()
    found = trained(task, optimizer, 400).w["w"].double().var(0) / task.noise**2
    error = math.sqrt(2 / task.copies)
    for h, x in zip(task.curvature, found.tolist(), strict=True):
        assert x == pytest.approx(variance(h), rel=4 * error)


SPECTRUM = tuple(1 / (1 + i) for i in range(20))


@dataclass(frozen=True)
class LeastSquares:
    """`copies` independent regressions without noise on normal inputs of variances 1, 1/2, ..., `batch` at a time."""

    batch: int
    copies: int = 200

    def init(self, rng):
        return {"w": torch.ones(self.copies, len(SPECTRUM))}

    def source(self, rng):
        shape = (self.copies, self.batch, len(SPECTRUM))
        return lambda w: torch.randn(shape, generator=rng) * torch.tensor(SPECTRUM).sqrt()

    def losses(self, w, batch):
        return 0.5 * torch.einsum("cbd,cd->cb", batch, w["w"]).square().mean(1).sum()[None]

    def score(self, w):
        return {}


def largest_rate(batch):
    """Where the mean square loses stability: `sum_i x_i / (B (2 - x_i (B + 1) / B)) = 1` with `x_i = rate h_i`."""

    def excess(rate):
        pairs = [(rate * h, 2 - rate * h * (batch + 1) / batch) for h in SPECTRUM]
        return sum(x / (batch * y) for x, y in pairs) - 1 if min(y for _, y in pairs) > 0 else math.inf

    low, high = 0.0, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return low


def test_the_largest_rate_is_known():
    found = [largest_rate(b) for b in (1, 2, 4, 16, 64, 1024)]
    assert found == pytest.approx([0.430, 0.753, 1.165, 1.755, 1.938, 1.996], abs=1e-3)


@pytest.mark.parametrize("batch", [1, 4, 16, 64])
def test_minibatches_lower_the_largest_stable_rate(batch):
    """Nine tenths of it converge, twelve tenths explode."""
    for share, explodes in ((0.9, False), (1.2, True)):
        last = trained(LeastSquares(batch), Lr(share * largest_rate(batch)), 1500, dtype="float64")
        size = math.inf if isinstance(last, Diverged) else float(last.w["w"].square().mean())
        assert (size > 1e3) if explodes else (size < 0.1), f"{share}: {size}"


# --- rotation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Directions:
    """`copies` weights of `size` numbers whose loss, `z w / |w|` with normal `z`, does not see their length."""

    size: int = 64
    copies: int = 32

    def init(self, rng):
        return {"w": torch.randn(self.copies, self.size, generator=rng) / 4}

    def source(self, rng):
        return lambda w: torch.randn(w["w"].shape, generator=rng)

    def losses(self, w, batch):
        return (batch * w["w"] / w["w"].norm(dim=1, keepdim=True)).sum()[None]

    def score(self, w):
        return {}


def angle(p):
    """The mean angle between weights before and after the step, and their mean length."""
    after = p.w["w"] - p.u["w"]
    cosine = torch.nn.functional.cosine_similarity(p.w["w"].double(), after.double(), dim=1)
    return {"angle": float(cosine.clamp(max=1).acos().mean()), "length": float(after.norm(dim=1).mean())}


@pytest.mark.parametrize(
    ("optimizer", "turn", "length"),
    [
        (Decay(0.01) >> Lr(0.1), math.sqrt(2 * 0.1 * 0.01), (0.1 * 63 / (2 * 0.01)) ** 0.25),
        (Decay(0.05) >> Momentum(0.9) >> Lr(0.02), math.sqrt(2 * 0.02 * 0.05 / 1.9), None),
        (
            adamw(0.01, 0.9, 0.99, decay=0.05),
            math.sqrt(2 * 0.01 * 0.05 * 0.1 / 1.9),
            math.sqrt(0.01 * 64 / (2 * 0.05)),
        ),
    ],
    ids=("sgd", "momentum", "adamw"),
)
def test_weights_without_a_length_of_their_own_turn_by_the_equilibrium_angle(optimizer, turn, length):
    """A step turns them by `sqrt(2 rate decay)`, `/ sqrt(1 + beta)` with momentum (arXiv:2305.17212)."""
    rows = [x for x in Run(Directions(), optimizer, 6000, every=20, probes=(angle,)).events() if isinstance(x, Row)]
    for name, value in (("angle", turn), ("length", length)):
        last = [x.value for x in rows if x.name == name and x.step > 4000]
        assert value is None or sum(last) / len(last) == pytest.approx(value, rel=0.03), name
