"""Trace, spectrum and ranks on problems with known answers: no bias, errors that are, and what they cannot see."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from adamantine import tree
from adamantine.assume.block_spectra import BlockSpectra
from adamantine.point import Point, stream
from adamantine.probes.effective_rank import EffectiveRank, GradientRank
from adamantine.probes.spectrum import Spectrum
from adamantine.probes.trace import Trace
from adamantine.tasks.quadratic import Quadratic

F64 = torch.float64


def quadratic(values, matrix=None, noise=0.0, batch=8, seed=0):
    task = Quadratic(tuple(float(x) for x in values), "random", noise, batch, matrix)
    w = tree.place(task.init(stream(seed, "init")), "cpu", F64)
    return Point(task, w, tree.place(task.source(stream(seed, "data"))(w), "cpu", F64), seed=seed)


@dataclass(frozen=True)
class Bowl:
    """Any quadratic, by its matrix."""

    h: torch.Tensor

    def losses(self, w, batch):
        x = w["w"]
        return (x @ (self.h @ x))[None] / 2


@dataclass(frozen=True)
class Net:
    """A tanh network on squares; the two layers are tensors of their own."""

    def losses(self, w, batch):
        return self.outputs_and_losses(w, batch)[1]

    def outputs_and_losses(self, w, batch):
        x, y = batch
        out = torch.tanh(x @ w["a"]) @ w["b"]
        return out, (out - y).square().sum(1)


def net():
    draw = torch.Generator().manual_seed(0)
    w = {"a": torch.randn(4, 5, dtype=F64, generator=draw), "b": torch.randn(5, 2, dtype=F64, generator=draw)}
    x = torch.randn(12, 4, dtype=F64, generator=draw)
    return Point(Net(), w, (x, torch.randn(12, 2, dtype=F64, generator=draw)))


def dense(product, w):
    eye = torch.eye(tree.size(w), dtype=F64)
    return torch.stack([tree.flat(product(tree.like(row, w))) for row in eye], 1)


def redrawn(probe, p, draws):
    return [probe(dataclasses.replace(p, step=i)) for i in range(draws)]


def unbiased(found, key, truth):
    x = np.array([f[key] for f in found])
    name, slash, part = key.partition("/")
    errors = np.array([f[f"{name}_error{slash}{part}"] for f in found])
    assert abs(x.mean() - truth) < 4 * x.std(ddof=1) / len(x) ** 0.5, key
    assert 0.7 < np.sqrt((errors**2).mean()) / x.std(ddof=1) < 1.5, key


@pytest.mark.parametrize("products", [6, 40])
def test_the_trace_and_its_blocks(products):
    p = net()
    h = dense(p.hvp, p.w)
    found = redrawn(Trace(products), p, 250 if products < 40 else 120)
    unbiased(found, "trace", float(h.trace()))
    if products < 40:
        assert found[0]["trace/a"] + found[0]["trace/b"] == pytest.approx(found[0]["trace"])
    for name, block in (("trace/a", h[:20, :20]), ("trace/b", h[20:, 20:])):
        unbiased(found, name, float(block.trace()))


def test_from_forty_products_on_the_trace_is_xtraces():
    values = [10 / (1 + i) ** 2 for i in range(100)]
    p = quadratic(values)
    few, many = (np.std([f["trace"] for f in redrawn(Trace(n), p, 25)]) for n in (39, 40))
    assert many < 0.5 * few
    assert p.cost["hvp"] == 25 * 79


def semicircle(d=400, spikes=(4.0, 6.0, 9.0), seed=0):
    """A Wigner matrix of radius one, and directions far above it."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(d, d, dtype=F64, generator=draw)
    u = torch.linalg.qr(torch.randn(d, len(spikes), dtype=F64, generator=draw))[0]
    h = (x + x.T) / (8 * d) ** 0.5 + (u * torch.tensor(spikes)) @ u.T
    return Point(Bowl(h), {"w": torch.ones(d, dtype=F64)}, None), h


def test_a_semicircle_with_outliers():
    p, h = semicircle()
    true = torch.linalg.eigvalsh(h)
    found = Spectrum(products=40, starts=6)(p)
    assert p.cost["hvp"] == 240
    assert found["largest_eigenvalue"] == pytest.approx(float(true[-1]), rel=1e-6)
    assert abs(found["smallest_eigenvalue"] - float(true[0])) < 0.02
    assert found["outliers"] == 3
    assert found["bulk_edge"] == pytest.approx(1.6, abs=0.15)
    for q in Spectrum.QUANTILES:
        got, error = found[f"spectrum_quantile/{q}"], found[f"spectrum_quantile_error/{q}"]
        assert abs(got - float(true.quantile(q))) < 4 * error + 0.03
    assert abs(found["negative_mass"] - float((true < 0).double().mean())) < 4 * found["negative_mass_error"] + 0.02


def test_without_outliers_there_are_none():
    p, _ = semicircle(spikes=())
    assert Spectrum(products=30, starts=4)(p)["outliers"] == 0
    assert Spectrum(products=8, starts=1)(p)["outliers"] == 0


def test_outliers_of_a_matrix_of_low_rank_are_its_rank():
    """Krylov spaces end early; what fills up the rows does not count."""
    found = Spectrum(products=12, starts=3)(quadratic([9.0, 7.0, 5.0] + [0.0] * 97))
    assert (found["outliers"], found["outliers_error"]) == (3, 0)
    assert abs(found["bulk_edge"]) < 1e-9


def test_what_has_not_converged_is_no_outlier():
    """A spectrum that falls evenly has a Ritz value for each product; few of them are eigenvalues."""
    found = Spectrum(products=10, starts=3)(quadratic([1 / (1 + i) ** 0.5 for i in range(400)]))
    assert found["outliers"] < 4


def test_masses_are_shares_of_decades():
    values = [3e-6] * 10 + [-3e-6] * 10 + [-0.8] * 15 + [0.02] * 25 + [5.0] * 30 + [500.0] * 10
    found = Spectrum(products=12, starts=40)(quadratic(values))
    masses = {k.partition("/")[2]: x for k, x in found.items() if k.startswith("spectrum_mass/")}
    errors = {k.partition("/")[2]: x for k, x in found.items() if k.startswith("spectrum_mass_error/")}
    assert list(masses) == [*(f"-1e{i:+03d}" for i in range(2, -5, -1)), "0", *(f"+1e{i:+03d}" for i in range(-4, 3))]
    assert sum(masses.values()) == pytest.approx(1.0)
    expected = {"0": 0.2, "-1e-01": 0.15, "+1e-02": 0.25, "+1e+00": 0.3, "+1e+02": 0.1}
    for k, x in masses.items():
        assert abs(x - expected.get(k, 0.0)) < 4 * errors[k] + 1e-9, k
    assert abs(found["negative_mass"] - 0.15) < 4 * found["negative_mass_error"]


def test_errors_of_the_spectrum_are_those_of_repetitions():
    p, _ = semicircle(200)
    found = redrawn(Spectrum(products=16, starts=6), p, 60)
    for key in ("spectrum_quantile/0.75", "negative_mass", "spectrum_mass/+1e-01"):
        name, slash, part = key.partition("/")
        errors = np.array([f[f"{name}_error{slash}{part}"] for f in found])
        spread = np.std([f[key] for f in found])
        assert 0.6 < np.sqrt((errors**2).mean()) / spread < (2.0 if "quantile" in key else 1.5), key


def test_the_gauss_newton_matrix_has_no_negative_mass_and_the_hessian_has():
    p = net()
    g, h = dense(p.ggn_vp, p.w), dense(p.hvp, p.w)
    both = [Spectrum(m, products=30, starts=2)(p) for m in ("gauss_newton", "hessian")]
    assert both[0]["negative_mass"] == 0 < both[1]["negative_mass"]
    for found, m in zip(both, (g, h), strict=True):
        assert found["largest_eigenvalue"] == pytest.approx(float(torch.linalg.eigvalsh(m)[-1]))
    ranks = redrawn(EffectiveRank("gauss_newton", 12), p, 150)
    unbiased(ranks, "curvature_rank", float(g.trace().square() / g.square().sum()))


@pytest.mark.parametrize("products", [4, 12])
def test_the_rank_of_the_curvature_has_no_bias(products):
    values = [1 / (1 + i) for i in range(30)]
    found = redrawn(EffectiveRank(products=products), quadratic(values), 400)
    x = np.array([f["curvature_rank"] for f in found])
    truth = sum(values) ** 2 / sum(v * v for v in values)
    assert abs(x.mean() / truth - 1) < 0.04
    assert np.sqrt(np.mean([f["curvature_rank_error"] ** 2 for f in found])) / x.std() == pytest.approx(1.0, abs=0.6)


def test_the_rank_of_the_gradients_has_no_bias_in_small_batches():
    """`C = g g' + noise^2`: its trace and norm are known; a mean over all pairs, i = j too, is far off."""
    values, noise, batch = [0.02 / (1 + i) for i in range(20)], 0.5, 16
    p = quadratic(values, noise=noise, batch=batch)
    g = p.task.hessian() @ tree.flat(p.w)
    c = torch.outer(g, g) + noise**2 * torch.eye(20, dtype=F64)
    truth = float(c.trace().square() / c.square().sum())
    found, plain, draw = [], [], p.task.source(stream(1, "batches"))
    for _ in range(400):
        here = p.on(tree.place(draw(p.w), "cpu", F64))
        found.append(GradientRank()(here))
        plain.append(float(here.each_gram().trace().square() / here.each_gram().square().sum()))
    x = np.array([f["gradient_rank"] for f in found])
    assert abs(x.mean() / truth - 1) < 0.03
    assert abs(np.mean(plain) / truth - 1) > 0.2, "the plain ratio is biased, and this test would see it"
    assert 0.8 < np.sqrt(np.mean([f["gradient_rank_error"] ** 2 for f in found])) / x.std() < 1.7


def test_too_few_examples_have_no_rank():
    assert math.isnan(GradientRank()(quadratic([1.0, 2.0], noise=1.0, batch=3))["gradient_rank"])


def test_what_they_refuse():
    for bad, says in (
        (lambda: Spectrum("fisher"), "matrix 'fisher' is not one of hessian, gauss_newton"),
        (lambda: Spectrum(decades=(2, 2)), "decades ascend"),
        (lambda: EffectiveRank("fisher"), "is not one of"),
        (lambda: EffectiveRank(products=3), "at least 4"),
        (lambda: Trace(1), "at least 2"),
    ):
        with pytest.raises(ValueError, match=says):
            bad()


def test_spectra_of_large_blocks_are_as_far_apart_as_the_dense_ones():
    values = tuple(float(x) for x in np.concatenate([np.geomspace(1e-3, 1, 60), -np.geomspace(1e-3, 0.1, 40)]))
    task = Quadratic(values, "random", matrix=(8, 6))
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    p, h = Point(task, w, task.source(stream(0, "data"))(w).double()), task.hessian()
    exact = BlockSpectra().on_quadratic(p, h)
    found = BlockSpectra(steps=25, probes=12)(p)
    for key, value in exact.items():
        assert found[key] == pytest.approx(value, abs=0.05)
        assert 0 < found[key.replace("spectra", "spectra_error")] < 0.1
    # One block a hundredfold: sizes differ by two decades more, and shapes as before.
    scale = tree.flat({k: torch.full_like(x, 10.0 if x.ndim == 2 else 1.0) for k, x in w.items()})
    larger = BlockSpectra().on_quadratic(p, scale[:, None] * h * scale[None])
    assert larger["block_spectra"] == pytest.approx(exact["block_spectra"], rel=1e-9)
    assert larger["block_spectra/size"] == pytest.approx(1.0, abs=0.1)  # of 0 and 2


def test_equal_blocks_have_no_distance_and_blocks_of_different_sign_a_large_one():
    p = Point(Quadratic((1.0,) * 8, matrix=(2, 2)), {"m": torch.zeros(2, 2), "v": torch.zeros(4)}, None)
    eye = torch.eye(8, dtype=torch.float64)
    assert BlockSpectra().on_quadratic(p, eye) == {"block_spectra": 0.0, "block_spectra/size": 0.0}
    eye[4:] *= -1
    assert BlockSpectra().on_quadratic(p, eye)["block_spectra"] > 0.95
