"""Gradient noise on problems with known answers: no bias, errors that are, and what is said where nothing is told."""

import dataclasses
import itertools
import math
from dataclasses import dataclass

import pytest
import torch

from adamantine.pieces import Pieces
from adamantine.point import Point, stream
from adamantine.probes.gradient_coherence import GradientCoherence
from adamantine.probes.gradient_sample import moments, sample
from adamantine.probes.noise_curvature import NoiseCurvature
from adamantine.probes.noise_curvature import _jackknife as curvature_of
from adamantine.probes.noise_scale import NoiseScale
from adamantine.probes.signal_to_noise import SignalToNoise

F64 = torch.float64
MEAN, SPREAD = {"a": (1.0, 0.0), "b": (2.0,)}, {"a": (2.0, 0.0), "b": (3.0,)}  # |G|^2 = 5, tr Sigma = 13


@dataclass(frozen=True)
class Linear:
    """The loss `x' w` of an example `x`, which is its gradient, normal with `MEAN` and `SPREAD`."""

    batch: int = 16
    splits: bool = True
    scalar: bool = False
    alone: bool = False

    def init(self, rng):
        return {k: torch.zeros(len(m), dtype=F64) for k, m in MEAN.items()}

    def score(self, w):
        return {}

    def source(self, rng):
        if self.alone:
            raise ValueError("Linear: there is no other batch.")
        return lambda w: drawn(self.batch, rng)

    def losses(self, w, batch):
        out = torch.stack([batch[k] @ x for k, x in w.items()]).sum(0)
        return out.mean()[None] if self.scalar else out


def drawn(n, rng):
    return {
        k: torch.tensor(m, dtype=F64)
        + torch.tensor(SPREAD[k], dtype=F64) * torch.randn(n, len(m), generator=rng, dtype=F64)
        for k, m in MEAN.items()
    }


def point(seed=0, pieces=(), **task):
    task, rng = Linear(**task), stream(seed, "batch")
    batch = Pieces(tuple(drawn(n, rng) for n in pieces)) if pieces else drawn(task.batch, rng)
    return Point(task, task.init(rng), batch, seed=seed)


def repeated(probe, draws=300, **how):
    found = [probe(point(seed, **how)) for seed in range(draws)]
    return {k: torch.tensor([f[k] for f in found], dtype=F64) for k in found[0]}


def unbiased(x, value, slack=4.0):
    return abs(float(x.mean()) - value) < slack * float(x.std()) / len(x) ** 0.5


HOW = {
    "by example": {},
    "from pieces of different sizes": {"pieces": (3, 9, 5, 2), "splits": False},
    "from fresh batches": {"splits": False},
    "from losses that are one number": {"splits": False, "scalar": True, "pieces": (6, 2, 4)},
    "from one example and fresh ones": {"batch": 1},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_variance_and_square_have_no_bias_and_their_errors_bound_them(how):
    x = repeated(NoiseScale(), **how)
    assert unbiased(x["gradient_variance"], 13.0)
    assert unbiased(x["gradient_square"], 5.0)
    for k in ("gradient_variance", "gradient_square"):
        bound = float(x[f"{k}_error"].square().mean().sqrt() / x[k].std())
        assert 0.95 < bound < 3.5, f"{k}: the error is {bound} of the deviation"


def test_the_jackknife_over_examples_is_the_deviation():
    x = repeated(NoiseScale(jackknife=True), batch=24)
    for k in ("gradient_variance", "gradient_square"):
        assert float(x[f"{k}_error"].square().mean().sqrt() / x[k].std()) == pytest.approx(1.0, abs=0.2)
    many = repeated(NoiseScale(jackknife=True), 200, batch=400)
    assert float(many["noise_scale_error"].square().mean().sqrt() / many["noise_scale"].std()) == pytest.approx(
        1, abs=0.2
    )


@pytest.mark.parametrize("how", [HOW[k] for k in HOW if k != "by example"])
def test_where_no_examples_are_told_apart_the_jackknife_is_the_bound(how):
    assert NoiseScale(jackknife=True)(point(2, **how)) == NoiseScale()(point(2, **how))


def test_the_jackknife_leaves_out_one_example_after_another():
    p = point(3, batch=7)
    found, left = NoiseScale(jackknife=True)(p), []
    for i in range(7):
        keep = [j for j in range(7) if j != i]
        left.append(moments(sample(p.on({k: x[keep] for k, x in p.batch.items()}), 2).whole()))
    for k in ("variance", "square"):
        x = torch.cat([getattr(m, k) for m in left])
        assert found[f"gradient_{k}_error"] == pytest.approx(float((6 / 7 * (x - x.mean()).square().sum()).sqrt()))


def test_the_ratio_of_averages_is_the_noise_scale_and_the_average_of_ratios_is_not():
    probe, notes, ratios = NoiseScale(memory=0.999), {}, []
    for seed in range(1500):
        p = dataclasses.replace(point(seed, batch=64), notes=notes)
        found = probe(p)
        ratios.append(found["gradient_variance"] / found["gradient_square"])
    assert found["noise_scale"] == pytest.approx(2.6, abs=4 * found["noise_scale_error"])
    assert found["noise_scale_error"] < 0.1
    x = torch.tensor(ratios)
    assert float(x.mean()) - 2.6 > 4 * float(x.std()) / len(x) ** 0.5, "the average of ratios has a bias to be seen"
    assert list(notes) == [repr(probe)]


def test_memory_fades_and_no_number_leaves_it():
    probe, notes = NoiseScale(memory=0.5), {}
    first, second = (NoiseScale()(point(s)) for s in (0, 1))
    probe(dataclasses.replace(point(0), notes=notes))
    found = probe(dataclasses.replace(point(1), notes=notes))
    above = second["gradient_variance"] + 0.5 * first["gradient_variance"]
    below = second["gradient_square"] + 0.5 * first["gradient_square"]
    assert found["noise_scale"] == pytest.approx(above / below)
    lost = dataclasses.replace(point(2), notes=notes)
    lost.batch["a"][0, 0] = math.nan
    kept = probe(lost)
    assert kept["noise_scale"] == pytest.approx(above / below)
    assert math.isnan(kept["gradient_square"])


def test_by_example_it_costs_one_pass():
    p = point()
    NoiseScale()(p)
    assert dict(p.cost) == {"each_norm": 1}


def test_a_gradient_that_does_not_stand_out_is_an_infinite_noise_scale():
    p = point()
    for x in p.batch.values():
        x -= x.mean(0)
    found = NoiseScale()(p)
    assert found["noise_scale"] == math.inf
    assert math.isnan(found["noise_scale_error"])
    assert found["gradient_square"] == pytest.approx(-found["gradient_variance"] / 16)


def test_without_examples_pieces_and_other_batches_there_is_a_sentence():
    with pytest.raises(ValueError, match="there is no other batch"):
        NoiseScale()(point(splits=False, alone=True))


@pytest.mark.parametrize("wrong", [{"memory": 1.0}, {"memory": -0.1}, {"batches": 1}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"NoiseScale: .* must be at least"):
        NoiseScale(**wrong)


@pytest.mark.parametrize(
    "how", [{"batch": 256}, {"pieces": (8, 16, 8, 32) * 4, "splits": False}], ids=["examples", "pieces"]
)
def test_signal_to_noise_by_tensor(how):
    x = repeated(SignalToNoise(), 200, **how)
    for k, square, variance in (("", 5.0, 13.0), ("/a", 1.0, 4.0), ("/b", 4.0, 9.0)):
        here = x[f"signal_to_noise{k}"]
        assert float(here.median()) == pytest.approx(256 * square / variance, rel=0.1)
        bound = float(x[f"signal_to_noise_error{k}"].median() / (here.quantile(0.84) - here.quantile(0.16)) * 2)
        assert 0.9 < bound < 4, (k, bound)


def test_signal_to_noise_is_at_the_batch_size_of_the_point():
    p = point(5, batch=50, splits=False)
    found = SignalToNoise(batches=30)(p)
    assert found["signal_to_noise"] == pytest.approx(50 * 5 / 13, rel=0.6)
    lone = sample(p, 30)
    assert (lone.batch, float(lone.sizes.sum())) == (50, 1500)
    assert sample(point(5, pieces=(3, 4), splits=False), 2).batch == 7


def test_signal_and_scale_come_from_one_pass():
    p = point()
    signal, scale = SignalToNoise()(p), NoiseScale()(p)
    assert dict(p.cost) == {"each_norm": 1}
    assert signal["signal_to_noise"] * scale["noise_scale"] == pytest.approx(16)
    whole = point(splits=False)
    SignalToNoise()(whole)
    NoiseScale()(whole)
    assert dict(whole.cost) == {"each_norm": 1, "grad": 4, "loss": 4}


def test_without_noise_the_signal_is_all():
    p = point()
    for x in p.batch.values():
        x.copy_(torch.ones_like(x))
    x = SignalToNoise()(p)
    assert x["signal_to_noise/b"] == math.inf or x["signal_to_noise/b"] > 1e12
    for x in p.batch.values():
        x.zero_()
    assert math.isnan(SignalToNoise()(p.on(p.batch))["signal_to_noise"])


def gradients(p):
    return torch.cat(list(p.batch.values()), 1)


def test_coherence_and_the_tests_by_loops_over_distinct_examples():
    p = point(4, batch=9)
    found, g = GradientCoherence()(p), gradients(p)
    k, n = (g @ g.T).tolist(), 9
    c = torch.nn.functional.normalize(g, dim=1)

    def mean(f, places):
        return torch.tensor([f(*i) for i in itertools.permutations(range(n), places)], dtype=F64).mean()

    square, fourth = mean(lambda i, j: k[i][j], 2), mean(lambda i, j, m, o: k[i][j] * k[m][o], 4)
    along = mean(lambda i, j, m: k[i][j] * k[i][m], 3)
    variance = g.square().sum(1).mean() - square
    assert found["coherence"] == pytest.approx(float(mean(lambda i, j: float(c[i] @ c[j]), 2)))
    assert found["norm_test"] == pytest.approx(float(variance / (n * square)))
    assert found["inner_product_test"] == pytest.approx(float((along - fourth) / (n * fourth)))
    assert found["orthogonality_test"] == pytest.approx(found["norm_test"] - found["inner_product_test"])


def test_the_errors_of_coherence_leave_out_one_example_after_another():
    p = point(4, batch=10)
    found, left = GradientCoherence()(p), []
    for i in range(10):
        keep = [j for j in range(10) if j != i]
        left.append(GradientCoherence()(p.on({k: x[keep] for k, x in p.batch.items()})))
    for k, scale in (("coherence", 1.0), ("norm_test", 0.9), ("inner_product_test", 0.9), ("orthogonality_test", 0.9)):
        x = torch.tensor([f[k] for f in left], dtype=F64) * scale  # at the size of the batch, not of nine
        assert found[f"{k}_error"] == pytest.approx(float((0.9 * (x - x.mean()).square().sum()).sqrt()))


def test_coherence_and_the_tests_have_no_bias_and_calibrated_errors():
    x = repeated(GradientCoherence(), 200, batch=200)
    c = torch.nn.functional.normalize(gradients(point(0, batch=400_000)), dim=1).mean(0)
    assert unbiased(x["coherence"], float(c.square().sum()))
    # G = (1, 0, 2), Sigma = diag(4, 0, 9): G' Sigma G = 40, |G|^4 = 25.
    norm, along = 13 / 5 / 200, 40 / 25 / 200
    for k, value in (("norm_test", norm), ("inner_product_test", along), ("orthogonality_test", norm - along)):
        assert float(x[k].mean()) == pytest.approx(value, rel=0.08)
    for k in ("coherence", "norm_test", "inner_product_test", "orthogonality_test"):
        assert float(x[f"{k}_error"].square().mean().sqrt() / x[k].std()) == pytest.approx(1.0, abs=0.25), k


def test_coherence_costs_one_pass_and_tells_nothing_of_few():
    p = point()
    GradientCoherence()(p)
    assert dict(p.cost) == {"each_gram": 1}
    few = GradientCoherence()(point(batch=4))
    assert math.isfinite(few["coherence"])
    assert math.isnan(few["norm_test"])
    assert all(math.isnan(x) for x in GradientCoherence()(point(batch=2)).values())
    lost = point(batch=8)
    for x in lost.batch.values():
        x -= x.mean(0)
    assert GradientCoherence()(lost)["norm_test"] == math.inf


@dataclass(frozen=True)
class Bowl:
    """`w' H w / 2 + e' w` with `H = diag(4, 1, 0.5)` at `w = (1, 2, 2)`, `e` of covariance `diag(4, 0.25, 9)`."""

    sizes: tuple[int, ...] = (32,)
    broken: bool = False

    def init(self, rng):
        return {"a": torch.tensor([1.0], dtype=F64), "b": torch.tensor([2.0, 2.0], dtype=F64)}

    def score(self, w):
        return {}

    def source(self, rng):
        n = self.sizes[int(torch.randint(len(self.sizes), (), generator=rng))]
        return lambda w: torch.randn(n, 3, generator=rng, dtype=F64) * torch.tensor([2.0, 0.5, 3.0], dtype=F64)

    def losses(self, w, batch):
        x = torch.cat([w["a"], w["b"]])
        out = (x.square() * torch.tensor([4.0, 1.0, 0.5], dtype=F64)).sum() / 2 + batch @ x
        return out * math.nan if self.broken else out


def bowl(seed=0, **task):
    task, rng = Bowl(**task), stream(seed, "batch")
    w = task.init(rng)
    return Point(task, w, task.source(rng)(w), seed=seed)


# G = (4, 2, 1), tr(H Sigma) = 16 + 0.25 + 4.5, G' H G = 64 + 4 + 0.5, tr Sigma = 13.25, tr H / d = 5.5 / 3.
CURVED = {
    "noise_trace": 20.75,
    "signal_curvature": 68.5,
    "curvature_noise_scale": 20.75 / 68.5,
    "noise_curvature": 20.75 / 13.25,
    "noise_alignment": 20.75 / 13.25 / (5.5 / 3),
}


def test_noise_curvature_has_no_bias_and_calibrated_errors():
    found = [NoiseCurvature(12)(bowl(seed, sizes=(8, 48))) for seed in range(250)]
    for k, value in CURVED.items():
        x, error = (torch.tensor([f[key] for f in found], dtype=F64) for key in (k, f"{k}_error"))
        if k in ("noise_trace", "signal_curvature"):
            assert unbiased(x, value), k
        assert float(x.mean()) == pytest.approx(value, rel=0.05), k
        assert float(error.square().mean().sqrt() / x.std()) == pytest.approx(1.1, abs=0.3), k


def test_noise_curvature_errors_leave_out_one_gradient_after_another():
    grams = torch.randn(2, 6, 6, generator=stream(0, "gram"), dtype=F64)
    grams = grams @ grams.mT + 5 * torch.ones(6, 6, dtype=F64)
    value, error = curvature_of(grams, 3.0)
    off = ~torch.eye(6, dtype=torch.bool)
    signal = grams[:, off].mean(1)
    noise = 3 * (grams.diagonal(dim1=1, dim2=2).mean(1) - signal)
    assert value["curvature_noise_scale"] == pytest.approx(float(noise[0] / signal[0]))
    assert value["noise_curvature"] == pytest.approx(float(noise[0] / noise[1]))
    keep = [[j for j in range(6) if j != i] for i in range(6)]
    left = [curvature_of(grams[:, k][:, :, k], 3.0)[0] for k in keep]
    for name, e in error.items():
        x = torch.tensor([f[name] for f in left], dtype=F64)
        assert e == pytest.approx(float((5 / 6 * (x - x.mean()).square().sum()).sqrt()))


def test_noise_curvature_costs_what_it_says_and_asks_nothing_of_no_number():
    p, probe = bowl(), NoiseCurvature(5)
    probe(p)
    assert dict(p.cost) == probe.cost == {"grad": 6, "loss": 5, "hvp": 10}
    lost = bowl(broken=True)
    assert all(math.isnan(x) for x in probe(lost).values())
    assert dict(lost.cost) == {"grad": 1}
    with pytest.raises(ValueError, match="there is no other batch"):
        probe(point(alone=True))
    with pytest.raises(ValueError, match="batches = 2 must be at least 3"):
        NoiseCurvature(2)
