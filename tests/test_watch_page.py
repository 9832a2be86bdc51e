"""The page of a watched run says what was measured, with errors and caveats; what was cut short has one too."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest

from adamantine import __main__ as command
from adamantine.finding import Figure, Heat
from adamantine.probes.preconditioned_sharpness import PreconditionedSharpness
from adamantine.probes.sharpness import Sharpness
from adamantine.report import page as pages
from adamantine.result import Result
from adamantine.run import Row
from adamantine.store import Store, StoreError
from adamantine.watching import page
from adamantine.watching.figures import figures, gathered
from adamantine.watching.journal import Journal, spec_of

EXAMPLES = Path(__file__).parents[1] / "examples"
TENSORS = ["net.0.weight", "net.0.bias", "net.1.weight"]
FACTS = {
    "name": "mine", "model": "Net", "optimizer": "AdamW(lr=0.001)", "started": "2026-01-02T03:04:05+00:00",
    "notes": ["The loss was nan at step 4."], "every": "2", "budget": None, "parameters": 12_000_000,
    "tensors": TENSORS, "steps": 6, "measurements": 3, "seconds": 20.0, "spent": 0.125,
    "probes": [repr(Sharpness(top=2)), repr(PreconditionedSharpness()), "Mine(3)"],
    "costs": {repr(Sharpness(top=2)): {"calls": 3, "seconds": 1.5}, "Mine(3)": {"calls": 0, "seconds": 0.0}},
    "unavailable": {"Mine(3)": {"why": "It needs more memory.", "step": 2, "given_up": True}},
}  # fmt: skip


def rows():
    found = []
    for t in (0, 2, 4):
        found += [Row(t, "loss", 3.0 / (t + 1)), Row(t, "accuracy", t / 10)]
        found += [Row(t, "sharpness", 2.0 + t), Row(t, "sharpness_error", 0.25)]
        found += [Row(t, "eigenvalue/2", 1.0), Row(t, "eigenvalue_error/2", 0.125)]
        found += [Row(t, "preconditioned_sharpness", 30.0), Row(t, "stability_threshold", 38.0), Row(t, "edge", 0.8)]
        found += [Row(t, f"ratio/{k}", 10.0 ** (i - t)) for i, k in enumerate(reversed(TENSORS)) if (t, i) != (2, 0)]
        found += [Row(t, "cosine", -0.5), Row(t, "cosine_null", 0.1)]
    return found


CAPTIONS = page.captions_of(FACTS["probes"]) | {"ratio": "norm over norm\nMisleads.", "cosine": "cosine; 1\n"}


def drawn():
    return {x.title: x for x in figures(gathered(rows()), CAPTIONS, TENSORS, "k")}


def test_training_comes_first_and_every_instrument_has_its_figure():
    titles = [*drawn()]
    assert titles[:2] == ["Loss", "Accuracy"]
    assert {"Sharpness", "Eigenvalue", "Preconditioned sharpness", "Edge", "Ratio, by tensor"} <= {*titles}
    assert "Stability threshold" not in titles
    assert "Cosine null" not in titles


def test_bands_are_twice_the_error():
    (curve,) = drawn()["Sharpness"].curves
    assert (curve.x, curve.y) == ([0, 2, 4], [2.0, 4.0, 6.0])
    assert (curve.low, curve.high) == ([1.5, 3.5, 5.5], [2.5, 4.5, 6.5])
    (second,) = drawn()["Eigenvalue"].curves
    assert second.high == [1.25] * 3


def test_what_there_is_to_compare_with_is_dashed():
    edge, level = drawn()["Edge"].curves
    assert (edge.style, level.style, level.y) == ("line", "dash", [1.0] * 3)
    assert [(c.name, c.style) for c in drawn()["Preconditioned sharpness"].curves][1] == ("stability_threshold", "dash")
    assert [(c.name, c.style) for c in drawn()["Cosine"].curves][1] == ("cosine_null", "dash")


def test_numbers_by_tensor_are_a_map_in_the_order_of_the_network():
    heat = drawn()["Ratio, by tensor"]
    assert isinstance(heat, Heat)
    assert (heat.rows, heat.columns, heat.scale) == (tuple(TENSORS), (0, 2, 4), "log")
    assert heat.values[0] == (100.0, 1.0, 0.01)
    assert math.isnan(heat.values[2][1])
    assert heat.unit == "ratio"


def test_captions_have_units_caveat_and_cost_and_no_promise_of_bands_where_there_are_none():
    said = drawn()["Sharpness"].caption
    assert said.startswith("Largest eigenvalue of the Hessian; loss / weight^2. ")
    assert Sharpness.caveat in said
    assert "12 × Hessian product" in said
    assert "Bands" in said
    assert "Bands" not in drawn()["Cosine"].caption


def test_infinity_of_an_instrument_is_no_divergence():
    found = gathered([Row(0, "gain", math.inf), Row(1, "gain", 2.0), Row(0, "loss", math.inf), Row(1, "loss", 1.0)])
    loss, gain = figures(found, {"gain": "gain\n"}, [], "k")
    assert math.isnan(gain.curves[0].y[0])
    assert loss.curves[0].y[0] == math.inf


def test_instruments_are_read_and_not_evaluated(tmp_path):
    assert page.instrument("Sharpness(products=9, top=2, smallest=True, tolerance=0.5)") == Sharpness(9, 2, True, 0.5)
    assert page.instrument(f"Sharpness(products=open({str(tmp_path / 'x')!r}, 'w'))") == Sharpness()
    assert not (tmp_path / "x").exists()
    assert page.instrument("Unheard(3)") is None


def test_the_answer_and_the_notes_say_it_in_words():
    said = page.answer(Result("k", "done", (), provenance=FACTS))
    assert "Net, 12 million parameters in 3 tensors, was trained by AdamW for 6 steps and measured at 3 of them" in said
    assert "Watching took 12 % of the 20 s" in said
    assert "interrupted" in page.answer(Result("k", "interrupted", (), provenance=FACTS))
    assert page.answer(Result("k", "interrupted", ())).startswith("The program ended before")
    first, second = page.notes(FACTS)
    assert first == "The loss was nan at step 4."
    assert second == "Mine(3) was unavailable from step 2: It needs more memory. It was not tried again."


def test_tables():
    lasts = {r[0]: r for r in page.lasts(gathered(rows()), CAPTIONS, "k").rows}
    assert lasts["sharpness"][1:4] == (6.0, 0.25, 4)
    assert lasts["eigenvalue/2"][1:3] == (1.0, 0.125)
    assert math.isnan(lasts["loss"][2])
    assert page.costs(FACTS, "k").rows[0] == (repr(Sharpness(top=2)), 3, 1.5, 0.5, 7.5)


@pytest.fixture
def place(tmp_path):
    store = Store(tmp_path)
    spec = spec_of("a" * 16, "watch of mine", "Net", "AdamW(lr=0.001)", 0)
    store.put(spec, Result("a" * 16, "done", tuple(rows()), provenance=FACTS))
    journal = Journal(tmp_path, spec_of("b" * 16, "watch of cut", "Net", "SGD(lr=0.1)", 0))
    for row in rows():
        journal.measured(row.step, {row.name: row.value})
    journal.flush(FACTS | {"name": "cut", "started": "2026-01-03T00:00:00+00:00"})
    return store


def told(capsys, *words):
    with pytest.raises(SystemExit) as end:
        command.main(["watched", *words])
    return end.value.code, capsys.readouterr().out


def test_the_command_lists_and_writes_pages_of_what_is_done_and_what_was_cut_short(place, capsys):
    code, listed = told(capsys, "--store", str(place.path))
    assert code == 0
    assert all(x in listed for x in ("a" * 16, "mine", "b" * 16, "cut", "done", "interrupted"))
    for word, key in (("mine", "a"), ("bbb", "b")):
        code, said = told(capsys, word, "--store", str(place.path))
        out = place.path / "reports" / f"watch-{key * 16}" / "index.html"
        assert code == 0
        assert str(out) in said.replace("\n", "")
        html = out.read_text()
        assert "Sharpness" in html
        assert ("not closed" in html) == (key == "b")
        assert (out.with_name("index-data") / "figure-1.csv").exists()
    code, said = told(capsys, "nothing", "--store", str(place.path))
    assert code == 1
    assert "no watched run" in said


def test_a_store_without_watched_runs(tmp_path, capsys):
    assert told(capsys, "--store", str(tmp_path)) == (0, f"No watched run is in the store {str(tmp_path)!r}.\n")
    with pytest.raises(StoreError, match="no watched run"):
        page.report(Store(tmp_path), "x")


def test_two_keys_that_begin_alike_are_told_apart(place):
    place.put(spec_of("a" * 15 + "c", "w", "Net", "SGD", 0), Result("a" * 15 + "c", "done", (), provenance=FACTS))
    with pytest.raises(StoreError, match="several watched runs start with 'aa'"):
        page.find(place, "aa")


def test_the_page_takes_every_figure(place, monkeypatch):
    seen = []
    real = pages.write
    monkeypatch.setattr(pages, "write", lambda *a, **k: (seen.append(a), real(*a, **k))[1])
    page.report(place, "mine")
    title, _, findings, items, _ = seen[0]
    assert title == "mine"
    assert findings.findings == ()
    assert len([x for x in items if isinstance(x, (Figure, Heat))]) >= 7


@pytest.mark.parametrize(("name", "words"), [("watch_resnet", ["--every", "3"]), ("watch_gpt2", [])])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_examples_run_and_write_their_page(name, words, tmp_path, capsys, monkeypatch):
    if name == "watch_gpt2":
        pytest.importorskip("transformers", reason="needs transformers")
        pytest.importorskip("accelerate", reason="needs accelerate")
        (tmp_path / "text.txt").write_text("To be or not to be. " * 4000)
        words = ["--text", str(tmp_path / "text.txt")]
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    example = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, example)
    spec.loader.exec_module(example)
    example.main([*words, "--steps", "4", "--out", str(tmp_path / "store")])
    out = Path(capsys.readouterr().out.rpartition("the page: ")[2].strip())
    assert out.name == "index.html"
    assert "Sharpness" in out.read_text()
    (found,) = page.watched(Store(tmp_path / "store"))
    # Batch normalization leaves no single examples to tell noise by.
    left_out = {"NoiseScale"} if name == "watch_resnet" else set()
    assert {x.partition("(")[0] for x in found[0].provenance["unavailable"]} <= left_out
    assert found[0].provenance["steps"] == 4


def test_a_zero_is_a_gap_on_a_logarithmic_scale():
    found = gathered([Row(t, "edge", x) for t, x in enumerate((0.0, 0.01, 1.0))])
    (figure,) = figures(found, {"edge": "edge\n"}, [], "k")
    assert figure.y_scale == "log"
    assert math.isnan(figure.curves[0].y[0])
    assert figure.curves[0].y[1:] == [0.01, 1.0]
