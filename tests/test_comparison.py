"""A comparison of tuned arms, on results that are written down: every number it gives is known beforehand."""

import math

import numpy as np
import pytest

from adamantine import panels
from adamantine.comparison import Arm, Comparison
from adamantine.finding import Figure, Table
from adamantine.optim.sgd import sgd
from adamantine.result import DIVERGED, DONE, Result, Results
from adamantine.run import Row
from adamantine.tasks.quadratic import Quadratic

GRID = (0.1, 0.2, 0.4)
STEPS = 100


def plain(rate, seed):
    return sgd(rate)


def heavy(rate, seed):
    return sgd(rate, 0.9)


def nesterov(rate, seed):
    return sgd(rate, 0.9, nesterov=True)


ARMS = (Arm("fast", plain, GRID), Arm("slow", heavy, GRID), Arm("wild", nesterov, GRID))
C = Comparison("bowl", Quadratic(), ARMS, STEPS, seeds=4, points=10)
PACE = {"fast": 1.0, "slow": 2.0, "wild": 1.0}
BEST = {"fast": 0.2, "slow": 0.8, "wild": 0.2}  # the middle of the grid, and beyond its edge


def curve(name, step, seed):
    """Falls as `exp(-step / (50 pace))`, on a level of the seed's own that pairing must remove."""
    return (1 + seed) * math.exp(-step / (50 * PACE[name]))


def answered(name, run, rate):
    detuned = 1 + math.log2(rate / BEST[name]) ** 2
    if name == "wild" and run.role == "report" and run.seed == 1:
        return DIVERGED, [Row(0, "loss", 1.0), Row(10, "held_out", 5.0), Row(17, "diverged", 17.0)]
    steps = range(10, STEPS + 1, 10)
    return DONE, [Row(s, "held_out", detuned * curve(name, s, run.seed)) for s in steps]


@pytest.fixture(scope="module")
def results():
    found, asked = Results(), []
    for _ in range(10):
        missing = [r for r in C.runs(found) if found.get(r) is None]
        asked.append(len(missing))
        for run in missing:
            name = next(a.name for a in ARMS if a.make(run.optimizer.parts[-1].size, 0) == run.optimizer)
            status, rows = answered(name, run, run.optimizer.parts[-1].size)
            found.add(Result(found.key(run), status, tuple(rows), "why"))
        if not missing:
            # Tuning; two arms report while the third widens twice; then it reports too.
            assert asked == [18, 10, 2, 4, 0]
            return found
    raise AssertionError("the comparison never had enough")


def test_every_arm_is_tuned_on_seeds_that_it_does_not_report(results):
    assert {a.name: C.tuned(a, results).best for a in ARMS} == BEST
    assert not any(C.tuned(a, results).at_edge for a in ARMS)
    roles = {(r.role, r.seed) for r in C.runs(results)}
    assert roles == {("tune", 0), ("tune", 1), *(("report", s) for s in range(4))}


def test_differences_are_paired_by_seed(results):
    effect = C.against("slow", "fast", results)
    exact = -100 / 100 + 100 / 50
    assert effect.value == pytest.approx(exact)
    assert effect.high - effect.low < 1e-9, "the level of the seed is in both"
    assert C.last("fast", results) == pytest.approx([curve("fast", 100, s) for s in range(4)])


def test_a_diverged_run_counts_and_says_when(results):
    assert C.last("wild", results)[1] == math.inf
    assert C.diverged("wild", results) == [17.0]
    effect = C.against("wild", "fast", results)
    assert (effect.value, effect.high) == (math.inf, math.inf)
    steps, values = C.series("wild", results)
    assert len(steps) == 10
    assert np.isinf(values[1, 1:]).all()
    assert np.isfinite(values[0]).all()


def test_notes_say_what_diverged_and_when(results):
    (note,) = C.notes(results)
    assert note == "bowl: wild diverged in 1 of 4 reporting runs, first at step 17; it counts as an infinite loss."


def test_slow_down_is_the_ratio_of_the_paces(results):
    own, other = (C.times(n, 1.0, results) for n in ("slow", "fast"))
    assert other[1:] == pytest.approx([50 * math.log(1 + s) for s in (1, 2, 3)], rel=0.01)
    assert own[1] == pytest.approx(100 * math.log(2), rel=0.01)
    assert own[0] == other[0] == 10, "there at the first score"
    assert np.isinf(own[2:]).all(), "100 log 3 is beyond the last step"
    effect, missed = C.slowdown("slow", "fast", 1.0, results)
    assert missed == 2
    assert effect.value == pytest.approx(np.mean([0, *np.log([own[1] / other[1], STEPS / other[2], STEPS / other[3]])]))
    target = C.targets("fast", results, (0.3, 0.4))[0]
    assert target == pytest.approx(np.mean([curve("fast", 30, s) for s in range(4)]))


def test_an_arm_that_never_gets_there_is_a_lower_bound(results):
    effect, missed = C.slowdown("slow", "fast", 0.4, results)
    own = [math.inf if curve("slow", STEPS, s) > 0.4 else 1 for s in range(4)]
    assert missed == sum(map(math.isinf, own)) == 3
    assert effect.value <= math.log(2) + 0.05


def test_windows_are_of_the_tuning_runs(results):
    assert C.window("fast", results, 0.25) == pytest.approx(2 * 0.25 * math.log10(2), rel=1e-6)
    assert C.windows("fast", results, 0.25) == pytest.approx([C.window("fast", results, 0.25)] * 2)


def test_asking_too_early_is_an_error_and_not_a_number():
    with pytest.raises(LookupError, match="fast"):
        C.last("fast", Results())


def test_panels_say_what_the_comparison_says(results):
    drawn = panels.curves(C, results)
    assert [c.name for c in drawn.curves] == ["fast", "slow", "wild"]
    assert drawn.curves[2].marks == [17.0]
    assert drawn.curves[0].y[-1] == pytest.approx(np.mean([curve("fast", 100, s) for s in range(4)]))
    assert set(drawn.keys) == set(C.keys(results))
    sensitive = panels.sensitivity(C, results)
    assert sensitive.curves[1].x == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert min(zip(sensitive.curves[1].y, sensitive.curves[1].x, strict=True))[1] == 0.8
    bars = panels.slowdown(C, results, "fast", (0.3, 0.5), ("slow",))
    assert isinstance(bars, Figure)
    assert all(c.low[0] <= c.y[0] <= c.high[0] for c in bars.curves)
    table = panels.summary(C, results, "fast", (0.3, 0.5), 0.25)
    rows = {r[0]: dict(zip(table.columns, r, strict=True)) for r in table.rows}
    assert [rows[n]["tuned rate"] for n in BEST] == [*BEST.values()]
    assert rows["wild"]["diverged"] == 1
    assert rows["slow"]["difference (%)"] == pytest.approx(100)
    assert rows["fast"]["slow-down"] == pytest.approx(1)
    times = panels.slowdowns(C, results, "fast", (0.3, 0.5), ("slow",))
    assert isinstance(times, Table)
    assert len(times.rows) == 2
    assert all(r[0] == "slow" and r[4] <= r[3] <= r[5] for r in times.rows)
