"""The page of agreements: verdicts, numbers and cells from given outcomes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import agreement
from agreement import Outcome
from agreement_page import cell, page
from peers import PEERS
from peers.peer import Peer

PLAIN = Peer("adamw", "torch", "torch.optim.AdamW(params, lr)")
FLAG = Peer("adamw", "torch", "torch.optim.AdamW(params, lr, x=1)", flag=True)
EXACT = Peer("adamw", "torch", "torch.optim.AdamW(params, lr)", exact=True)
ROUNDED = Peer("adamw", "heavyball", "heavyball.AdamW(params)", single=True)
OTHER = Peer("adamw", "optax", "optax.adamw(lr)", why="the moon is full")


@pytest.mark.parametrize(
    ("outcome", "number", "verdict"),
    [
        (Outcome(PLAIN, 0.0), "< 1e-09", "agrees"),
        (Outcome(PLAIN, 0.123456), "0.12", "differs: the reason is not known"),
        (Outcome(OTHER, 1.5e-7), "1.5e-07", "differs: the moon is full"),
        (Outcome(ROUNDED, 3e-6, 1e-5), "< 1e-05", "agrees to float32"),
        (Outcome(ROUNDED, 3e-4, 1.3e-3), "< 2e-03", "agrees to float32"),
        (Outcome(PLAIN, absent=True), "", "not installed here"),
        (Outcome(PLAIN, failure="TypeError: no"), "", "fails: TypeError: no"),
        (Outcome(PLAIN, float("nan")), "nan", "differs: the reason is not known"),
    ],
)
def test_outcome_in_words(outcome, number, verdict):
    assert (outcome.number, outcome.verdict) == (number, verdict)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([Outcome(PLAIN, 0.0)], "="),
        ([Outcome(PLAIN, 0.0), Outcome(FLAG, 0.5)], "="),
        ([Outcome(PLAIN, 0.5), Outcome(FLAG, 0.0)], "= flag"),
        ([Outcome(PLAIN, 0.5), Outcome(PLAIN, 0.0)], "= (≠)"),
        ([Outcome(PLAIN, 0.5), Outcome(EXACT, 0.0)], "≠ 0.5"),
        ([Outcome(ROUNDED, 0.0, 1e-5)], "f32"),
        ([Outcome(PLAIN, 0.5), Outcome(PLAIN, 0.25)], "≠ 0.25"),
        ([Outcome(PLAIN, absent=True)], "absent"),
        ([Outcome(PLAIN, failure="no")], "fails"),
    ],
)
def test_cell(rows, text):
    assert cell(rows) == text


def test_page_is_the_same_text_for_the_same_outcomes():
    rows = [Outcome(PLAIN, 0.0), Outcome(OTHER, 0.5)]

    def make():
        own = {"adamw": (0.0, 1e-9), "sgd": (2e-7, 1e-6)}
        return page(rows, own, ["adamw", "sgd"], {"torch": "1"}, "3.11.7", 60)

    assert make() == make()
    assert "| adamw | = | = | ≠ 0.5 |" in make()
    assert "| sgd | < 1e-06 |" in make()
    assert "alone: sgd" in make()


def test_what_is_not_installed_is_said_not_raised(monkeypatch):
    monkeypatch.setitem(agreement.PACKAGES, "torch", "nowhere_at_all")
    assert agreement.measure(PLAIN).absent


def test_what_crashes_is_said_not_raised():
    assert agreement.measure(Peer("adamw", "torch", "torch.optim.AdamW(params, nonsense=1)")).failure


def test_a_wrong_rule_is_seen():
    found = agreement.measure(Peer("adamw", "torch", "torch.optim.AdamW(params, lr, weight_decay=0.02)"))
    assert found.distance > 1e-4
    assert not found.agrees


def test_published_page_has_every_call():
    text = (Path(__file__).parents[1] / "docs" / "agreement.md").read_text()
    assert [x.call for x in PEERS if f"`{x.call}`" not in text] == []
