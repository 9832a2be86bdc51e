"""The solvers: closed forms, dense decompositions and other packages; no bias, and intervals that cover."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

from adamantine.solvers.cauchy import one_one
from adamantine.solvers.diagonal import block_energy, diagonal, diagonal_energy, frobenius
from adamantine.solvers.lanczos import lanczos, orthogonal
from adamantine.solvers.operator import Operator
from adamantine.solvers.quadrature import Density, density
from adamantine.solvers.signs import sign_power
from adamantine.solvers.trace import hutchinson, xtrace
from adamantine.solvers.track import track

F64 = torch.float64


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def op(matrix):
    return Operator(lambda v: matrix @ v, len(matrix), matrix[0, :0])


def turned(values, seed=0):
    """A matrix with these eigenvalues in a random basis."""
    values = torch.as_tensor(values, dtype=F64)
    q = torch.linalg.qr(torch.randn(len(values), len(values), dtype=F64, generator=rng(seed)))[0]
    return (q * values) @ q.T


def symmetric(d, seed=0):
    x = torch.randn(d, d, dtype=F64, generator=rng(seed))
    return (x + x.T) / 2


def unbiased(found, truth, sigmas=4.0):
    x = np.array(found)
    assert abs(x.mean() - truth) < sigmas * x.std(ddof=1) / len(x) ** 0.5 + 1e-9 * abs(truth)


HARD = {
    "clustered": [5.0, 5.0, 5.0 - 1e-6, *[1.0] * 20, 0.5],
    "negative": [-12.0, 10.0, *[0.3] * 10, -1.0],
    "deficient": [3.0, 1.0, *[0.0] * 30],
    "spread": [1e8, 1.0, 1e-8, 0.0, -1e-4],
    "zero": [0.0] * 6,
    "one": [7.0],
}


# --- Lanczos ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_lanczos_on_hard_spectra(name, dtype):
    a = op(turned(HARD[name]).to(dtype))
    found, true = lanczos(a, 12, rng()), torch.tensor(sorted(HARD[name]), dtype=F64)
    small = (1e-5 if dtype is torch.float32 else 1e-12) * float(true.abs().max())
    nearest = (found.values[:, None] - true).abs().min(1).values
    assert bool((nearest <= found.errors + small).all()), "an eigenvalue lies within each bound"
    assert found.products == a.count <= min(12, len(true))
    assert float(found.weights.sum()) == pytest.approx(1.0)
    assert float(found.values[-1]) == pytest.approx(float(true[-1]), rel=1e-4, abs=1e-12)
    assert float(found.values[0]) == pytest.approx(float(true[0]), rel=1e-4, abs=10 * small + 1e-12)


@pytest.mark.parametrize(("dtype", "small"), [(torch.float32, 1e-5), (torch.float64, 1e-13)], ids=["32", "64"])
def test_lanczos_stays_orthogonal_and_has_no_ghosts(dtype, small):
    values = [100.0, 50.0, *torch.linspace(0, 1, 98).tolist()]
    found = lanczos(op(turned(values).to(dtype)), 60, rng())
    assert float((found.vectors @ found.vectors.T - torch.eye(60)).abs().max()) < small
    assert int((found.values > 2).sum()) == 2, "each outlier is there once"


def test_what_is_left_is_orthogonal_though_little_is_left():
    basis = torch.linalg.qr(torch.randn(50, 10, dtype=F64, generator=rng()))[0].T
    v = basis.sum(0) + 1e-10 * torch.randn(50, dtype=F64, generator=rng(1))
    left, length = orthogonal(v, basis)
    assert length == pytest.approx(float(left.norm()))
    assert float((basis @ left).abs().max()) < 1e-14 * length
    assert orthogonal(basis[0], basis)[1] < 1e-15


def test_lanczos_says_nothing_of_what_is_no_number():
    assert math.isnan(float(lanczos(op(torch.full((3, 3), math.nan)), 2, rng()).values[0]))
    assert math.isnan(float(lanczos(op(symmetric(3)), 2, rng(), torch.full((3,), math.nan)).values[0]))


# --- tracking -----------------------------------------------------------------------------------------------------


def spiked(t, d=300, k=3):
    """Outliers that drift and turn over a fixed bulk."""
    bulk = turned(torch.linspace(-0.5, 1.0, d), 1)
    u, v = (torch.linalg.qr(torch.randn(d, k, dtype=F64, generator=rng(i)))[0] for i in (2, 3))
    q = torch.linalg.qr(math.cos(0.02 * t) * u + math.sin(0.02 * t) * v)[0]
    return bulk + (q * torch.tensor([6 + 0.05 * t, 4.0, -3.0])) @ q.T


@pytest.mark.parametrize(("k", "sign"), [(1, 1), (1, -1), (2, 1)])
def test_tracking_a_drifting_spectrum(k, sign):
    start, wrong, products, draw = None, [], [], rng()
    for t in range(40):
        m = spiked(t)
        a, true = op(m), torch.linalg.eigvalsh(sign * m).flip(0) * sign
        found = track(a, draw, start, k, sign)
        start = found.start
        assert found.products == a.count
        for i in range(k):
            assert float((found.values[i] - true).abs().min()) <= float(found.bounds[i]) * (1 + 1e-6) + 1e-9
            residual = m @ found.vectors[i] - found.values[i] * found.vectors[i]
            assert float(residual.norm()) == pytest.approx(float(found.bounds[i]), rel=1e-6, abs=1e-9)
        wrong.append(float((found.values - true[:k]).abs().max() / true[0].abs()))
        products.append(found.products)
    assert np.median(wrong[1:]) < 1e-3
    assert max(wrong) < 0.02
    assert np.mean(products[1:]) <= 2 * k + 1.2


def net():
    """A tanh network's loss, sharpening under gradient descent, as a function of one vector."""
    x = torch.randn(200, 8, dtype=F64, generator=rng())
    y = torch.nn.functional.one_hot((x @ torch.randn(8, 3, dtype=F64, generator=rng(1))).argmax(1), 3).to(F64)

    def loss(w):
        a, b, c, e = w.split([80, 10, 30, 3])
        return ((torch.tanh(x @ a.view(8, 10) + b) @ c.view(10, 3) + e - y) ** 2).sum(1).mean()

    return loss, torch.randn(123, dtype=F64, generator=rng(2)) / 3


def test_three_products_follow_a_net_in_training():
    loss, w = net()
    start, wrong, products, draw = None, [], [], rng()
    for t in range(320):
        w = w.detach().requires_grad_()
        (g,) = torch.autograd.grad(loss(w), w, create_graph=True)
        if t % 8 == 0:
            (h,) = torch.autograd.grad(g, w, torch.eye(len(w), dtype=F64), retain_graph=True, is_grads_batched=True)
            found = track(op(h), draw, start)
            start, true = found.start, float(torch.linalg.eigvalsh(h)[-1])
            wrong.append(abs(float(found.values[0]) / true - 1))
            products.append(found.products)
        w = w - 0.2 * g
    assert np.median(wrong[1:]) < 0.01
    assert np.median(products[1:]) <= 3


@pytest.mark.parametrize("top", [5.2, 10.0])
@pytest.mark.parametrize("seed", range(4))
def test_an_eigenvalue_that_overtakes_is_found_though_all_vectors_are_exact(top, seed):
    before = torch.rand(2000, dtype=F64, generator=rng(seed))
    before[0], after = 5.0, before.clone()
    after[7], start, draw, true = top, None, rng(seed), (5.0, top)
    for t in range(15):
        h = before if t < 8 else after
        found = track(Operator(lambda v, h=h: h * v, 2000, h[:0]), draw, start)
        start = found.start
        if t == 7:
            assert float(found.values[0]) == pytest.approx(true[0], rel=1e-9)
    assert float(found.values[0]) == pytest.approx(true[1], rel=1e-3)


def test_exact_vectors_are_no_trap():
    """Both vectors exact, and a third eigenvalue above: only what is drawn anew leads there."""
    h, draw = torch.linspace(0, 1, 500, dtype=F64), rng()
    h[0], h[1], h[2] = 5.0, 4.0, 8.0
    start = torch.eye(500, dtype=F64)[:2]
    for _ in range(12):
        found = track(Operator(lambda v: h * v, 500, h[:0]), draw, start)
        start = found.start
    assert float(found.values[0]) == pytest.approx(8.0, rel=2e-3)


def test_products_are_added_until_the_tolerance_is_met():
    m, used = spiked(0), []
    for tolerance in (0.01, 1e-4, 1e-8):
        found = track(op(m), rng(), torch.randn(2, 300, dtype=F64, generator=rng(1)), most=100, tolerance=tolerance)
        assert float(found.errors[0]) <= tolerance * float(found.values[0])
        assert float(found.values[0]) == pytest.approx(float(torch.linalg.eigvalsh(m)[-1]), rel=tolerance)
        used.append(found.products)
    assert 3 <= used[0] < used[1] < used[2] < 100


def test_two_that_cross_are_followed():
    """The one that comes from behind was followed as the next in line."""
    start, draw = None, rng()
    for t in range(20):
        h = torch.cat([torch.tensor([5.0 - 0.1 * t, 4.0 + 0.1 * t]), torch.linspace(0, 1, 200)]).double()
        found = track(Operator(lambda v, h=h: h * v, 202, h[:0]), draw, start)
        start = found.start
        assert float(found.values[0]) == pytest.approx(float(h.max()), rel=1e-3), t


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("dtype", "small"), [(torch.float32, 1e-4), (torch.float64, 1e-7)], ids=["32", "64"])
def test_tracking_on_hard_spectra(name, sign, dtype, small):
    m, start, draw = turned(HARD[name]).to(dtype), None, rng()
    for _ in range(4):
        found = track(op(m), draw, start, sign=sign)
        start = found.start
    true = max(sign * x for x in HARD[name]) * sign
    assert float(found.values[0]) == pytest.approx(true, rel=10 * small, abs=small * max(map(abs, HARD[name])))


def test_tracking_agrees_with_arpack():
    m = spiked(3)
    found = track(op(m), rng(), None, k=2, most=40, tolerance=1e-9)
    assert sorted(found.values.tolist()) == pytest.approx(eigsh(m.numpy(), 2, which="LA")[0].tolist(), rel=1e-6)


def test_tracking_says_no_number_and_starts_again():
    good = op(symmetric(20))
    start = track(good, rng()).start
    lost = track(op(torch.full((20, 20), math.nan, dtype=F64)), rng(), start)
    assert math.isnan(float(lost.values[0]))
    assert float(track(good, rng(), lost.start, most=20).values[0]) == pytest.approx(
        float(torch.linalg.eigvalsh(symmetric(20))[-1])
    )
    with pytest.raises(ValueError, match="vectors of 20 coordinates for a matrix of 3"):
        track(op(symmetric(3)), rng(), start)
    with pytest.raises(ValueError, match="most >= 2 k"):
        track(good, rng(), None, k=3, most=6)


# --- quadrature ---------------------------------------------------------------------------------------------------


def wishart(n=600, d=300):
    x = torch.randn(n, d, dtype=F64, generator=rng())
    x[:, 0] *= 5
    return x.T @ x / n


def test_moments_are_exact_in_the_mean():
    m = symmetric(40)
    rows = [density(op(m), 6, 2, rng(i)) for i in range(150)]
    for k in (1, 2, 5, 11):
        unbiased([r.moment(k).value for r in rows], float(torch.linalg.eigvalsh(m).pow(k).mean()))
    spread = np.std([r.moment(2).value for r in rows])
    assert np.sqrt(np.mean([r.moment(2).error ** 2 for r in rows])) == pytest.approx(spread, rel=0.25)


def test_the_density_of_a_spiked_wishart_matrix():
    m = wishart()
    found, true = density(op(m), 40, 8, rng()), torch.linalg.eigvalsh(m)
    assert found.products == 320
    for x in (0.3, 0.7, 1.2, 2.0):
        got = found.share(high=x)
        assert abs(got.value - float((true <= x).double().mean())) < 4 * got.error + 0.01
    for q in (0.1, 0.5, 0.9):
        got = found.quantile(q)
        assert abs(got.value - float(true.quantile(q))) < 4 * got.error + 0.02
    top = found.nodes.max(1).values
    assert torch.allclose(top, true[-1].expand(8), rtol=1e-6), "every start finds the outlier, at its own eigenvalue"
    assert found.share(10.0).value == pytest.approx(1 / 300, rel=1.0)


def test_quantiles_of_atoms():
    """Between atoms there is nothing, and no quantile."""
    two = torch.tensor([[0.0, 5.0], [0.0, 5.0]], dtype=F64)
    found = Density(two, torch.tensor([[0.9, 0.1], [0.8, 0.2]], dtype=F64), 0 * two, 10, 4)
    assert [found.quantile(q).value for q in (0.0, 0.5, 0.84, 0.86, 1.0)] == [0, 0, 0, 5, 5]
    assert found.quantile(0.5).error == 0
    assert found.quantile(0.83).error == 2.5
    assert math.isnan(Density(two[:1], torch.tensor([[0.9, 0.1]]).double(), 0 * two, 10, 2).quantile(0.5).error)


def test_a_density_where_spaces_end_early():
    found = density(op(turned([2.0] * 5 + [0.0] * 15)), 10, 30, rng())
    assert found.products <= 30 * 3
    got = found.share(1.0)
    assert abs(got.value - 0.25) < 4 * got.error
    assert found.moment(0).value == pytest.approx(1.0)
    assert math.isnan(density(op(torch.full((3, 3), math.nan)), 2, 2, rng()).share(0.0).value)
    assert math.isnan(density(op(torch.full((3, 3), math.nan)), 2, 2, rng()).quantile(0.5).value)


# --- trace --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [0.0, 0.2])
def test_the_interval_covers_also_where_it_chose_when_to_stop(tolerance):
    m = turned([20.0, 5.0, *[0.3] * 60])
    truth, rounds = float(m.trace()), 400
    found = [hutchinson(op(m), 64, rng(i), tolerance) for i in range(rounds)]
    covered = sum(f.low <= truth <= f.high for f in found) / rounds
    assert covered > 0.95 - 3 * (0.95 * 0.05 / rounds) ** 0.5
    if tolerance:
        assert len({f.products for f in found}) > 1, "it stops at different times"
        assert abs(np.mean([f.value for f in found]) - truth) < 0.3 * np.mean([f.error for f in found])
    else:
        unbiased([f.value for f in found], truth)
        assert covered < 0.98
        assert np.sqrt(np.mean([f.error**2 for f in found])) == pytest.approx(np.std([f.value for f in found]), rel=0.1)


def test_of_a_diagonal_matrix_the_trace_is_exact():
    found = hutchinson(op(torch.diag(torch.arange(5.0))), 64, rng(), 0.01)
    assert (found.value, found.error, found.products) == (10.0, 0.0, 8)
    with pytest.raises(ValueError, match="at least 2"):
        hutchinson(op(symmetric(3)), 1, rng())


@pytest.mark.parametrize(
    ("d", "products"), [(30, 12), (5, 4), (4, 20), (12, 22)], ids=["many", "few", "more than d", "nearly all"]
)
def test_xtrace_has_no_bias(d, products):
    m = symmetric(d, 3) + turned([1.0 / (1 + i) ** 2 for i in range(d)])
    found = [xtrace(op(m), products, rng(i)) for i in range(300)]
    unbiased([f.value for f in found], float(m.trace()))
    assert all(f.products <= products for f in found)


def test_xtrace_is_exact_at_low_rank_and_small_sizes():
    for values in ([3.0, -1.0, 0.5, *[0.0] * 40], [0.0] * 5, [7.0], [2.0, 1.0]):
        for dtype in (torch.float32, F64):
            found = xtrace(op(turned(values).to(dtype)), 12, rng())
            assert found.value == pytest.approx(sum(values), rel=1e-5, abs=1e-6)
            assert not found.error > 1e-4
    assert math.isnan(xtrace(op(torch.full((3, 3), math.nan)), 6, rng()).value)
    with pytest.raises(ValueError, match="at least 4"):
        xtrace(op(symmetric(3)), 3, rng())


def test_above_forty_products_xtrace_is_better_and_knows_it():
    m = turned([10 / (1 + i) ** 2 for i in range(150)])
    truth = float(m.trace())
    xs = [xtrace(op(m), 60, rng(i)) for i in range(30)]
    hs = [hutchinson(op(m), 60, rng(i)) for i in range(30)]
    assert np.std([x.value - truth for x in xs]) < 0.3 * np.std([h.value - truth for h in hs])
    ratio = np.sqrt(np.mean([x.error**2 for x in xs])) / np.std([x.value for x in xs])
    assert 0.5 < ratio < 2.5


def test_traces_agree_with_another_package():
    other = pytest.importorskip("curvlinops")
    m = turned([10 / (1 + i) ** 2 for i in range(60)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        xs = [float(other.xtrace(m, 40)) for _ in range(20)]
        hs = [float(other.hutchinson_trace(m, 40)) for _ in range(100)]
    ours = [xtrace(op(m), 40, rng(i)).value for i in range(20)]
    assert np.mean(ours) == pytest.approx(np.mean(xs), rel=0.01)
    assert np.std(ours) < 1.2 * np.std(xs)
    assert np.std([hutchinson(op(m), 40, rng(i)).value for i in range(100)]) == pytest.approx(np.std(hs), rel=0.3)


# --- the diagonal, blocks, norms ----------------------------------------------------------------------------------


def test_the_diagonal_and_its_error():
    m = symmetric(8)
    found = [diagonal(op(m), 5, rng(i)) for i in range(400)]
    values = torch.stack([f.value for f in found])
    for i in range(8):
        unbiased(values[:, i].tolist(), float(m[i, i]))
    spread = torch.stack([f.error for f in found]).square().mean(0).sqrt()
    assert float(spread.norm() / values.std(0).norm()) == pytest.approx(1.0, rel=0.05)
    assert torch.allclose(values.var(0) * 5, (m.square().sum(1) - m.diag().square()), rtol=0.3)
    assert found[0].products == 5
    with pytest.raises(ValueError, match="diagonal: probes = 1"):
        diagonal(op(m), 1, rng())


def test_energies_have_no_bias():
    """Numerators and denominators are; the ratio is with many probes."""
    m = symmetric(12) + torch.diag(torch.linspace(-3, 3, 12, dtype=F64))
    square, on = float(m.square().sum()), float(m.diag().square().sum())
    unbiased([frobenius(op(m), op(m), 4, rng(i)).value for i in range(300)], square)
    a = op(m)
    found = [diagonal_energy(a, a, 40, rng(i)) for i in range(100)]
    values = np.array([f.value for f in found])
    assert values.mean() == pytest.approx(on / square, rel=0.03)
    assert np.sqrt(np.mean([f.error**2 for f in found])) == pytest.approx(values.std(), rel=0.3)
    assert found[0].products == 40
    numerator = [f.value for f in (diagonal_energy(a, a, 3, rng(i)) for i in range(300))]
    assert np.mean(numerator) == pytest.approx(on / square, abs=0.1)
    blocks = [5, 4, 3]
    parts = [p.square().sum() / square for p in (m[:5, :5], m[5:9, 5:9], m[9:, 9:])]
    both = [block_energy(a, a, blocks, 30, rng(i)) for i in range(60)]
    several, whole = [s for s, _ in both], [x for _, x in both]
    assert np.mean([x.value for x in whole]) == pytest.approx(float(sum(parts)), rel=0.02)
    assert np.mean([x.error for x in whole]) == pytest.approx(np.std([x.value for x in whole]), rel=0.4)
    for k, part in enumerate(parts):
        assert np.mean([s[k].value for s in several]) == pytest.approx(float(part), rel=0.05)
        errors, spread = np.mean([s[k].error for s in several]), np.std([s[k].value for s in several])
        assert errors == pytest.approx(spread, rel=0.4)
    assert several[0][0].products == 90
    with pytest.raises(ValueError, match="blocks of 3 coordinates for a matrix of 12"):
        block_energy(a, a, [3], 4, rng())


def test_two_batches_take_the_noise_out_of_energies():
    m, noise = torch.diag(torch.linspace(1, 2, 15, dtype=F64)) + 0.1, [symmetric(15, i) for i in range(400)]
    square = float(m.square().sum())
    pairs = [(op(m + x), op(m + y)) for x, y in zip(noise[::2], noise[1::2], strict=True)]
    unbiased([frobenius(a, b, 4, rng(i)).value for i, (a, b) in enumerate(pairs)], square)
    alone = np.mean([frobenius(a, a, 4, rng(i)).value for i, (a, _) in enumerate(pairs)])
    assert alone > 1.5 * square, "one batch alone counts its noise"
    a, b = pairs[0]
    found = diagonal_energy(a, b, 10, rng())
    assert found.products == 20
    true = float((m + noise[0]).diag() @ (m + noise[1]).diag() / ((m + noise[0]) * (m + noise[1])).sum())
    assert abs(diagonal_energy(a, b, 4000, rng()).value - true) < 0.05


def test_sign_vectors_reach_the_maximum_of_small_matrices():
    for seed in range(5):
        m = symmetric(9, seed)
        every = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=F64)] * 9)
        best = float((every @ m).abs().sum(1).max())
        found = sign_power(op(m), 20, 10, rng(seed))
        assert found.value == pytest.approx(best)
        assert float((m @ found.signs).abs().sum()) == pytest.approx(best)
        assert 20 < found.products <= 200
    assert sign_power(op(torch.ones(4, 4)), 1, 5, rng(), torch.ones(4)).value == 16
    assert math.isnan(sign_power(op(torch.full((3, 3), math.nan)), 2, 2, rng()).value)


def test_the_cauchy_estimate_has_no_bias_and_skips_rows_of_zeros():
    m = torch.zeros(9, 9, dtype=F64)
    m[:7, :7] = symmetric(7)
    found = [one_one(op(m), 8, rng(i)) for i in range(400)]
    unbiased([f.value for f in found], float(m.abs().sum()))
    spread = np.std([f.value for f in found])
    assert np.sqrt(np.mean([f.error**2 for f in found])) == pytest.approx(spread, rel=0.25)
    with pytest.raises(ValueError, match="at least 4"):
        one_one(op(m), 3, rng())
