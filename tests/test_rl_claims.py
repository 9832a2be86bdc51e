"""Claims about control at their smallest scale, from first run to page, and contests on results that are made up."""

import html
import math
from functools import partial

import numpy as np
import pytest

from adamantine.claim import load, pursue
from adamantine.claims import rl_critical_batch
from adamantine.comparison import Arm
from adamantine.contest import Contest, Event
from adamantine.optim.sgd import sgd
from adamantine.report import page
from adamantine.result import Result, Results
from adamantine.run import Row
from adamantine.store import Store
from adamantine.tasks.dials import Dials

QUICK = ("rl-critical-batch", "rl-profile")
SLOW = ("rl-optimizers", "rl-rotation", "exploration-noise", "plasticity")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_a_claim_runs_from_nothing_to_a_page(name, tmp_path):
    claim, results = load(name), Results()
    for event in pursue(claim, "tiny", results, Store(tmp_path / "s")):
        assert not isinstance(event, Result) or event.finished, event.why
    findings = claim.verdict("tiny", results)
    assert findings.findings
    assert len(results) <= 1.3 * claim.expected("tiny")
    for finding in findings.findings:
        assert finding.keys
        assert not math.isnan(finding.interval[0])
    out = page.write(
        "a title", "", findings, claim.figures("tiny", results), tmp_path / "page.html", command="a command", runs={}
    )
    text = html.unescape(out.read_text())
    assert findings.answer.split(";")[0][:40] in text
    assert not list(claim.runs("tiny", results)) or all(results.get(r) for r in claim.runs("tiny", results))


def test_names_take_dashes_and_underscores():
    assert load("rl-rotation") is load("rl_rotation")


def _part(rate, seed):
    return sgd(rate)


def contest():
    event = Event("dials", Dials(4), 40, 0.0, 1.0)
    other = Event("more dials", Dials(5), 40, 0.0, 2.0)
    arms = (Arm("a", _part, (0.1, 0.2, 0.4)), Arm("b", partial(_part), (0.1, 0.2, 0.4)))
    return Contest((event, other), arms, seeds=4, tuning_seeds=2, widen=1)


def answered(c, returns):
    """Results of every run wanted, `returns(run)` their only row, until no more are."""
    results = Results()
    while missing := [r for r in c.runs(results) if results.get(r) is None]:
        for run in missing:
            x, status = returns(run), "done"
            if x is None:
                status, x = "diverged", 0.0
            results.add(Result(results.key(run), status, (Row(0, "return", x), Row(39, "return", x))))
    return results


def rate_of(run):
    return run.optimizer.parts[-1].size


def test_a_contest_tunes_for_high_returns_and_widens():
    c = contest()
    best = {Dials(4): 0.2, Dials(5): 0.8}
    results = answered(c, lambda run: 1 - abs(math.log(rate_of(run) / best[run.task])))
    tuned = [c.tuned(e, c.arms[0], results) for e in c.events]
    assert [t.best for t in tuned] == [0.2, 0.8]
    assert [t.at_edge for t in tuned] == [False, True]
    assert c.default(c.arms[0], results) in (0.2, 0.4)
    assert np.allclose(c.scores("a", results)[0], 1.0)
    assert np.allclose(c.scores("a", results)[1], 0.5)
    assert "edge" in c.notes(results)[0]


def test_a_contest_pairs_seeds_and_counts_what_diverged():
    c = contest()

    def returns(run):
        if run.role == "report" and run.seed == 3 and rate_of(run) == 0.2:
            return None
        return (0.5 if rate_of(run) == 0.2 else 0.1) + 0.01 * run.seed

    results = answered(c, returns)
    own = c.scores("a", results)[0]
    assert own.tolist() == pytest.approx([0.5, 0.51, 0.52, 0.0])
    assert c.collapsed("a", results).value == 0.25
    assert c.against("a", "b", results).value == 0.0
    assert set(c.ties("a", "b", results)) == {"dials", "more dials"}
    assert any("diverged in 1 of 4" in note for note in c.notes(results))
    with pytest.raises(LookupError, match="has not been run yet"):
        c.scores("a", Results())


def test_the_critical_batch_is_found_where_it_is_put():
    sizes = np.array([1.0, 2, 4, 8, 16, 32, 64])
    rng = np.random.default_rng(0)
    for truth in (3.0, 12.0):
        rollouts = 20 * (1 + truth / sizes) * np.exp(0.02 * rng.normal(size=7))
        assert math.exp(rl_critical_batch.fitted(sizes, rollouts)) == pytest.approx(truth, rel=0.15)
    assert math.isnan(rl_critical_batch.fitted(sizes, np.full(7, np.inf)))
