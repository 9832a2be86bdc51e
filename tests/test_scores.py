"""Statistics of scores: closed forms, scipy as oracle, and the coverage of the intervals."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from adamantine import scores

RNG = np.random.default_rng(0)


def test_the_interquartile_mean_forgets_the_outer_quarters():
    assert scores.iqm([np.array([0.0, 1, 2, 100]), np.array([-50.0, 1, 2, 3])]) == pytest.approx((1 + 1 + 2 + 2) / 4)
    x = RNG.normal(size=40)
    assert scores.iqm([x[:15], x[15:]]) == pytest.approx(scipy_stats.trim_mean(x, 0.25))


def test_the_probability_of_improvement_is_mann_whitneys():
    a, b = RNG.integers(0, 6, 30).astype(float), RNG.integers(1, 7, 30).astype(float)
    u = scipy_stats.mannwhitneyu(a, b).statistic
    assert scores.improvement([a], [b]).value == pytest.approx(u / 900)
    assert scores.improvement([a, a], [b, a]).value == pytest.approx((u / 900 + 0.5) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [10, 16])
def test_intervals_cover(seeds, monkeypatch):
    monkeypatch.setattr(scores, "DRAWS", 300)
    rng, truth, hits = np.random.default_rng(1), 0.3, {"iqm": 0, "difference": 0, "improvement": 0}
    better = float(scipy_stats.norm.cdf(0.3 / 2**0.5))
    for k in range(200):
        a = [rng.normal(truth, 1, seeds) for _ in range(2)]
        b = [rng.normal(0, 1, seeds) for _ in range(2)]
        for name, effect, value in (
            ("iqm", scores.iqm_interval(a, seed=k), truth),
            ("difference", scores.iqm_difference(a, b, seed=k), truth),
            ("improvement", scores.improvement(a, b, seed=k), better),
        ):
            hits[name] += effect.low <= value <= effect.high
    for name, n in hits.items():
        assert 0.87 <= n / 200 <= 0.985, (name, n)


def test_intervals_narrow_and_are_reproducible():
    a, b = [RNG.normal(1, 1, 40)], [RNG.normal(0, 1, 40)]
    wide, narrow = scores.iqm_difference([a[0][:10]], [b[0][:10]]), scores.iqm_difference(a, b)
    assert narrow == scores.iqm_difference(a, b)
    assert narrow.high - narrow.low < wide.high - wide.low
    assert narrow.low < narrow.value < narrow.high
    assert scores.iqm_interval([np.ones(1)]).low == -np.inf


def test_shares_have_exact_intervals():
    none = scores.rate(0, 16)
    assert none.value == none.low == 0
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 16))


def test_profiles_gaps_and_shares():
    x = [np.array([0.1, 0.6, 1.2]), np.array([0.5, 0.9, 0.9])]
    assert scores.profile(x, [0.0, 0.55, 2.0]).tolist() == pytest.approx([1.0, 2 / 3, 0.0])
    assert scores.optimality_gap(x) == pytest.approx(1 - (0.1 + 0.6 + 1 + 0.5 + 0.9 + 0.9) / 6)
    assert scores.share_near_best([20, 480, 500, -np.inf], 20) == 0.5


def test_ranks_put_tasks_on_one_scale():
    x = np.array([[3.0, 1.0], [2.0, 2.0]])
    assert np.allclose(scores.by_rank([x])[0], [[0.875, 0.125], [0.5, 0.5]])
    assert np.allclose(scores.by_rank([x])[0], scores.by_rank([np.exp(5 * x)])[0])


def test_what_does_not_pair_gets_a_sentence():
    with pytest.raises(ValueError, match="different tasks or seeds"):
        scores.iqm_difference([np.ones(3)], [np.ones(4)])


def test_rliable_agrees():
    metrics = pytest.importorskip("rliable.metrics", reason="rliable is not installed, the oracle of these statistics")
    x, y = RNG.normal(size=(12, 3)), RNG.normal(size=(12, 3))
    assert scores.iqm(list(x.T)) == pytest.approx(metrics.aggregate_iqm(x))
    assert scores.improvement(list(x.T), list(y.T)).value == pytest.approx(metrics.probability_of_improvement(x, y))
    assert scores.optimality_gap(list(x.T)) == pytest.approx(metrics.aggregate_optimality_gap(x))
