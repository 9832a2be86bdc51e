"""Intervals cover what they say, and the small formulas agree with closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamantine import stats
from adamantine.evidence import above, within
from adamantine.finding import INCONCLUSIVE, REFUTED, SUPPORTED

DRAWS = 4000
BAND = 4 * math.sqrt(0.05 * 0.95 / DRAWS)  # four standard errors of a simulated coverage


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_paired_intervals_cover(n, level):
    rng = np.random.default_rng(n)
    seeds = rng.normal(0, 1.0, (DRAWS, n))  # shared by both arms: pairing must remove it
    a = np.exp(0.05 + seeds + rng.normal(0, 0.02, (DRAWS, n)))
    b = np.exp(seeds + rng.normal(0, 0.02, (DRAWS, n)))
    found = [stats.paired(x.tolist(), y.tolist(), level) for x, y in zip(a, b, strict=True)]
    covered = np.mean([e.low <= 0.05 <= e.high for e in found])
    assert covered == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / DRAWS))
    assert np.mean([e.value for e in found]) == pytest.approx(0.05, abs=0.002)


def test_the_equivalence_test_is_no_more_wrong_than_it_says():
    """At a true difference on the margin it must support equivalence in at most half of 5 %."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(DRAWS):
        wrong += stats.mean((0.01 + rng.normal(0, 0.003, 5)).tolist()).within(0.01)
    assert wrong / DRAWS <= 0.025 + BAND


def test_divergence_is_counted_and_never_dropped():
    e = stats.paired([math.inf, 1.0, 1.0], [1.0, 1.0, 1.0])
    assert e.value == math.inf
    assert e.high == math.inf
    assert not e.above(0.0)  # two seeds of three say that there is no difference
    assert stats.paired([math.inf] * 3, [1.0] * 3).above(0.0)
    assert stats.paired([math.inf] * 3, [math.inf] * 3).interval == (-math.inf, math.inf)
    assert stats.mean([1.0]).interval == (-math.inf, math.inf)
    assert math.isnan(stats.mean([]).value)


def test_pairs_must_pair():
    with pytest.raises(ValueError, match="pairs"):
        stats.paired([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="positive"):
        stats.paired([0.0, 1.0], [1.0, 2.0])


def test_holm_against_its_definition():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_monotone_and_no_smaller(p):
    adjusted = stats.holm(p)
    assert all(a >= x for a, x in zip(adjusted, p, strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_time_to_interpolates_and_says_never():
    steps, loss = np.array([10, 20, 30]), np.array([4.0, 2.0, 1.0])
    assert stats.time_to(steps, loss, 3.0) == 15
    assert stats.time_to(steps, loss, 5.0) == 10
    assert stats.time_to(steps, loss, 0.5) == math.inf
    assert stats.time_to(steps, np.array([4.0, math.inf, 1.0]), 2.5) == 25


def test_rate_and_offset_of_a_line():
    assert stats.rate_and_offset([12.0, 24.0, 36.0], [5.0, 10.0, 15.0]) == pytest.approx((2.4, 0.0))
    assert stats.rate_and_offset([15.0, 20.0, math.inf], [5.0, 10.0, 15.0]) == pytest.approx((1.0, 10.0))
    assert math.isnan(stats.rate_and_offset([1.0, math.inf], [1.0, 2.0])[0])


def test_window_of_a_parabola():
    x = np.linspace(-3, 3, 601)
    width = stats.window_width((10**x).tolist(), (1 + x**2).tolist(), 0.25)
    assert width == pytest.approx(1.0, abs=1e-3)
    assert stats.window_width([1, 10, 100], [math.inf] * 3, 0.1) == 0


def test_iqm_ignores_the_tails():
    assert stats.iqm([0.0, 1.0, 2.0, 1e9]) == 1.5


def test_bootstrap_ranks_of_a_clear_order_and_of_a_tie():
    rng = np.random.default_rng(0)
    clear = np.array([1.0, 2.0, 3.0])[:, None, None] + rng.normal(0, 0.01, (3, 4, 5))
    intervals, first = stats.bootstrap_ranks(clear, rng, 300)
    assert intervals.tolist() == [[1, 1], [2, 2], [3, 3]]
    assert first.tolist() == [1, 0, 0]
    intervals, first = stats.bootstrap_ranks(rng.normal(0, 1, (2, 4, 5)), rng, 300)
    assert (intervals[:, 1] - intervals[:, 0] == 1).all()
    assert first.sum() == pytest.approx(1)


def test_kendall_of_reversed_ranks():
    assert stats.kendall([1, 2, 3, 4], [4, 3, 2, 1])[0] == -1


@pytest.mark.parametrize(
    ("interval", "verdict"), [((0.1, 0.3), SUPPORTED), ((-0.3, -0.1), REFUTED), ((-0.1, 0.3), INCONCLUSIVE)]
)
def test_findings_follow_the_interval(interval, verdict):
    effect = stats.Effect(sum(interval) / 2, *interval, 5)
    assert above("x", effect, 0.0, "", "", ()).verdict == verdict


def test_equivalence_findings_and_single_seeds():
    def found(low, high, n=5):
        return within("x", stats.Effect((low + high) / 2, low, high, n), 0.1, "", "", (), math.exp)

    assert found(-0.05, 0.05).verdict == SUPPORTED
    assert found(0.2, 0.3).verdict == REFUTED
    assert found(0.05, 0.3).verdict == INCONCLUSIVE
    assert found(-0.05, 0.05, n=1).verdict == INCONCLUSIVE
    assert found(-0.05, 0.05).interval == pytest.approx((math.exp(-0.05), math.exp(0.05)))
