"""`adamantine check`: verdicts on series whose answer is known, and the command on a model of somebody else's."""

import math
import re

import numpy as np
import pytest
from test_claim import call

from adamantine.checking.check import Check, assumptions, chosen
from adamantine.checking.envelope import envelope, plane
from adamantine.checking.judge import HOLDS, UNKNOWN, VIOLATED, judge
from adamantine.optim.adam import adam
from adamantine.result import Result, Results
from adamantine.run import Row
from adamantine.tasks.quadratic import Quadratic

STEPS = np.arange(0, 100, 10)


def series(values, noise=0.01, seeds=4):
    rng = np.random.default_rng(0)
    return np.asarray(values, dtype=float) * (1 + noise * rng.normal(size=(seeds, len(values))))


def test_a_constant_that_stays_holds_with_its_extreme():
    flat = np.linspace(2.0, 3.0, 10)
    above, below = judge(STEPS, series(flat), "slower"), judge(STEPS, series(flat), "faster")
    assert (above.verdict, below.verdict) == (HOLDS, HOLDS)
    assert above.constant == pytest.approx(3.0, rel=0.02)
    assert below.constant == pytest.approx(2.0, rel=0.02)
    assert above.low < above.constant < above.high


def test_what_outgrows_every_constant_is_violated_in_one_direction_only():
    growing = np.geomspace(1.0, 1000.0, 10)
    assert judge(STEPS, series(growing), "slower").verdict == VIOLATED
    assert judge(STEPS, series(growing), "faster").verdict == HOLDS
    assert judge(STEPS, series(growing[::-1]), "faster").verdict == VIOLATED
    assert judge(STEPS, series(growing[::-1]), "slower").verdict == HOLDS
    assert judge(STEPS, series(growing), "slower", growth=1e6).verdict == HOLDS
    assert "factor of at least" in judge(STEPS, series(growing), "slower").why


def test_noise_around_zero_is_not_detectable_and_below_zero_is_violated():
    rng = np.random.default_rng(1)
    assert judge(STEPS, rng.normal(size=(4, 10)), "slower").verdict == UNKNOWN
    below = series(np.full(10, 1.0))
    below[:, 6] = -1.0 + 0.01 * rng.normal(size=4)
    found = judge(STEPS, below, "faster")
    assert (found.verdict, found.constant) == (VIOLATED, pytest.approx(-1.0, abs=0.05))
    assert "step 60" in found.why
    assert judge(STEPS, np.full((3, 10), np.nan), "slower").verdict == UNKNOWN


def test_an_infinite_constant_is_violated_from_above_and_no_news_from_below():
    x = series(np.ones(10))
    x[1, 4] = math.inf
    assert judge(STEPS, x, "slower").verdict == VIOLATED
    assert judge(STEPS, x, "faster").verdict == HOLDS


def test_rarely_wrong_on_a_constant_with_noise():
    """Of 200 constants that stay, none is called violated."""
    rng = np.random.default_rng(2)
    found = [judge(STEPS, 1 + 0.3 * rng.normal(size=(3, 10)), "slower").verdict for _ in range(200)]
    assert found.count(VIOLATED) == 0


def test_names_that_do_not_exist_get_the_nearest():
    with pytest.raises(ValueError, match="no assumption 'Smothness'; nearest: Smoothness"):
        chosen(("Smothness",), 3)
    assert [x.__name__ for x in map(type, chosen(("Smoothness", "SignGain"), 3))] == ["Smoothness", "SignGain"]
    cheap = {type(x).__name__ for x in chosen((), 100)}
    assert "BlockEnergy" not in cheap
    assert "Smoothness" in cheap


def test_what_cannot_be_measured_is_left_out_with_its_sentence():
    every = tuple(x() for x in assumptions().values())
    found = Check(Quadratic(), adam(0.1), every, steps=8).refusals()
    assert "none of w is a matrix" in found["OrthogonalUpdate"]
    assert "Smoothness" not in found
    with pytest.raises(ValueError, match="seeds are at least 2"):
        Check(Quadratic(), adam(0.1), every, seeds=1)


MODEL = """
import torch
import torch.nn.functional as F
from torch import nn


def build():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(32, 3))


def batches(rng):
    def draw():
        y = torch.randint(3, (12,), generator=rng)
        return torch.randn(12, 4, 8, generator=rng) + y[:, None, None], y

    return draw


def loss(run, batch):
    x, y = batch
    return F.cross_entropy(run(x), y, reduction="none")
"""


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "encoder.py"
    file.write_text(MODEL)
    return file


@pytest.fixture
def check(tmp_path, capsys):
    """What the command says."""

    def checked(model, *words, code=0):
        fixed = ("--steps", "8", "--points", "4", "--seeds", "2", "--jobs", "1", "--store", tmp_path / "s")
        call("check", model, *fixed, *words, code=code)
        return " ".join(capsys.readouterr().out.split())

    return checked


def test_a_model_of_somebody_else_gets_a_page(model, tmp_path, check):
    names = ("--only", "Smoothness", "--only", "DenseGradient", "--only", "ConvexityRatio")
    out = check(model, *names)
    assert re.search(r"Smoothness\s+(holds|violated|not detectable)", out)
    html = (tmp_path / "s" / "reports" / "check-encoder" / "index.html").read_text()
    for words in ("DenseGradient", "arXiv:2002.08056", "means"):
        assert words in html
    again = check(model, *names)
    assert "executed" not in again
    assert "left" not in again, "nothing is run twice"


def test_mistakes_get_a_sentence(model, tmp_path, check):
    assert "there is no file" in check(tmp_path / "none.py", code=1)
    assert "nearest: Smoothness" in check(model, "--only", "Smoothnes", code=1)
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    assert "defines no task" in check(empty, code=1)
    lost = tmp_path / "lost.py"
    lost.write_text(MODEL.replace('reduction="none")', 'reduction="none") * float("nan")'))
    assert "the loss of ModuleTask is nan at the first step" in check(lost, code=1)
    strange = tmp_path / "strange.py"
    strange.write_text(MODEL + "\noptimizer = 3\n")
    assert "give a composition of parts" in check(strange, code=1)


# --- several constants -----------------------------------------------------------------------------------------


def test_a_plane_above_all_points_finds_the_constants_that_made_them():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 3, (200, 2))
    exact = 2 + x @ [0.5, 1e-3]
    assert plane(x, exact) == pytest.approx([2, 0.5, 1e-3], rel=1e-6)
    below = exact * rng.uniform(0.2, 1, 200)
    c = plane(x, below)
    assert (c[0] + x @ c[1:] >= below - 1e-9).all()
    assert (c[0] + x @ c[1:]).mean() <= exact.mean() + 1e-9, "it is the lowest"


def test_an_envelope_says_whether_the_second_constant_is_of_use():
    g = [np.geomspace(10, 0.1, 20)[:, None] * s for s in (1.0, 1.1, 0.9)]
    used = envelope(("|grad f|",), g, [1e-3 + 2 * x[:, 0] for x in g])
    assert used is not None
    assert used.constants["|grad f|"] == pytest.approx(2, rel=1e-6)
    assert used.seeds["|grad f|"] == pytest.approx((2, 2), rel=1e-3)
    assert used.share < 0.3
    idle = envelope(("|grad f|",), g, [np.full(20, 3.0)] * 3)
    assert idle is not None
    assert idle.constants == pytest.approx({"1": 3.0, "|grad f|": 0.0}, abs=1e-9)
    assert idle.share == pytest.approx(1)
    assert envelope(("|grad f|",), [x[:2] for x in g], [x[:2, 0] for x in g]) is None
    lost = envelope(("|grad f|",), g, [np.where(np.arange(20) < 5, math.nan, 3.0)] * 3)
    assert lost is not None
    assert lost.constants["1"] == pytest.approx(3)


def test_a_run_tells_both_constants_of_a_quadratic():
    smooth = assumptions()["GradientSmoothness"]()
    plan = Check(Quadratic((4.0, 1.0, 1.0)), adam(0.1), (smooth,), steps=20, points=10, seeds=2)
    results = Results()
    for run in plan.runs():
        results.add(Result(results.key(run), "done", tuple(e for e in run.events() if isinstance(e, Row))))
    found = plan.envelope(smooth, plan.runs(), results)
    assert found is not None
    assert found.constants == pytest.approx({"1": 4.0, "|grad f|": 0.0}, abs=1e-4)
    assert plan.envelope(assumptions()["Smoothness"](), plan.runs(), results) is None
