"""Claims on assumptions at their smallest scale, from first run to page, and the numbers they are made of."""

import html
import math

import pytest
import torch

from adamantine import tree
from adamantine.assume.restricted_secant import RestrictedSecant
from adamantine.claim import load, pursue
from adamantine.optim.sgd import sgd
from adamantine.point import Point, stream
from adamantine.probes.frequency_loss import FrequencyLoss
from adamantine.report import page
from adamantine.result import Result, Results
from adamantine.run import Row, Run
from adamantine.store import Store
from adamantine.tasks.fixed import Fixed
from adamantine.tasks.logistic import HeavyTailedLogistic
from adamantine.tasks.ppo import PPO
from adamantine.tasks.quadratic import Quadratic

QUICK = ("noise-not-main", "block-heterogeneity", "spectral-condition")
SLOW = (
    "class-imbalance", "directional-sharpness", "secant-paths", "path-convexity", "guarantees", "explains",
    "max-norm-geometry", "update-orthogonality", "gauge-rotation", "interventions",
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One for all: claims on the same runs share them."""
    return Store(tmp_path_factory.mktemp("claims") / "s")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_a_claim_runs_from_nothing_to_a_page(name, store, tmp_path):
    claim, results = load(name), Results(r for r in store.results() if r.finished)
    for event in pursue(claim, "tiny", results, store):
        assert not isinstance(event, Result) or event.finished, event.why
    findings = claim.verdict("tiny", results)
    assert findings.findings
    assert "nan" not in findings.answer
    assert all(f.keys for f in findings.findings)
    items = claim.figures("tiny", results)
    out = page.write("a title", "", findings, items, tmp_path / "page.html", command="a command", runs={})
    assert findings.answer.split(";")[0][:40] in html.unescape(out.read_text())
    assert all(results.get(r) for r in claim.runs("tiny", results))


# --- a fixed set of examples -----------------------------------------------------------------------------------------


def draws(task, n=3):
    w = task.init(stream(0, "init"))
    draw = task.source(stream(0, "data"))
    return w, [draw(w) for _ in range(n)]


def test_all_examples_at_once_are_the_same_every_time():
    whole = Fixed(Quadratic(noise=1.0, batch=4), batches=3)
    w, found = draws(whole)
    assert all(torch.equal(found[0], x) for x in found[1:])
    assert found[0].shape[0] == 12
    assert torch.equal(found[0], torch.cat(whole.examples))
    assert whole.score(w)["training"] == pytest.approx(float(whole.losses(w, found[0]).mean()))


def test_some_at_once_are_without_bias_and_less_noisy():
    def grads(at_once):
        task = Fixed(Quadratic(noise=1.0, batch=4), batches=6, at_once=at_once)
        w, found = draws(task, 300)
        return torch.stack([tree.flat(Point(task, w, x).grad) for x in found])

    whole = grads(6)
    for n in (1, 3):
        some = grads(n)
        assert torch.allclose(some.mean(0), whole.mean(0), atol=5 * float(some.std()) / 300**0.5)
        expected = (6 - n) / (6 * n) / ((6 - 1) / 6)  # of the variance at one, for draws without repetition
        assert float(some.var(0).sum() / grads(1).var(0).sum()) == pytest.approx(expected, rel=0.25)


def test_a_task_that_moves_and_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="at most as many"):
        Fixed(Quadratic(), 2, 3)
    with pytest.raises(ValueError, match="depend on the weights"):
        draws(Fixed(PPO(envs=2, horizon=8), 2))


# --- classes ---------------------------------------------------------------------------------------------------------


def test_balanced_classes_have_as_many_examples_each():
    task = HeavyTailedLogistic(4, balanced=True)
    assert set(task.counts().tolist()) == {5}
    _, (batch, *_) = draws(task)
    assert torch.bincount(batch["y"]).tolist() == [5] * 15
    heavy = HeavyTailedLogistic(4)
    assert abs(len(batch["y"]) / len(draws(heavy)[1][0]["y"]) - 1) < 0.25
    start = task.score(task.init(stream(0, "init")))
    assert all(start[f"group{i}"] == pytest.approx(math.log(15), rel=1e-5) for i in range(4))


def test_losses_by_frequency_are_those_of_the_groups():
    task = HeavyTailedLogistic(3)
    w = {"head": torch.randn(7, task.dim, generator=stream(0, "w"))}
    p = Point(task, w, task.source(stream(0, "data"))(w))
    found = FrequencyLoss(groups=3, batches=1)(p)
    each, y = task.losses(w, p.batch), p.batch["y"]
    assert found["frequency_loss"] == pytest.approx(float(each.mean()), rel=1e-5)
    for group, classes in enumerate(([0], [1, 2], [3, 4, 5, 6])):  # of 8, 4 and 2 examples each
        mine = each[torch.isin(y, torch.tensor(classes))]
        assert found[f"frequency_loss/{group}"] == pytest.approx(float(mine.mean()), rel=1e-5)
    quadratic = Quadratic()
    v = quadratic.init(stream(0, "init"))
    none = FrequencyLoss()(Point(quadratic, v, quadratic.source(stream(0, "data"))(v)))
    assert math.isnan(none["frequency_loss"])


# --- paths ---------------------------------------------------------------------------------------------------


def test_a_path_is_told_when_its_end_is_known():
    task = Quadratic((2.0, 2.0, 2.0))
    events = list(Run(task, sgd(0.05), steps=40, every=10, probes=(RestrictedSecant(),)).events())
    rows = [e for e in events if isinstance(e, Row)]
    assert {r.step for r in rows if r.name.startswith("restricted_secant")} == {39}
    told = {r.name: r.value for r in rows}
    # Straight to the minimum: the cosine is one, and the slope over the distance that of the way that was gone.
    for step in (0, 10, 20):
        gone = 1 - 0.9 ** (40 - step)
        assert told[f"secant_ratio/{step}"] == pytest.approx(1.0, rel=1e-4)
        assert told[f"restricted_secant/{step}"] == pytest.approx(2.0 / gone, rel=1e-3)
    assert told["secant_excess/0"] == pytest.approx(1 - 1 / math.sqrt(40), rel=1e-3)
