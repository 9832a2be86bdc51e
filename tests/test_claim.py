"""Claims from the package and from a user's file, and what the command line says when something is wrong."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from adamantine import __main__ as cli
from adamantine.claim import Asked, ClaimError, asked, interleaved, load, names, pursue, question
from adamantine.listing import KINDS, entries
from adamantine.progress import Watch, duration
from adamantine.result import Result, Results
from adamantine.store import Store
from adamantine.tasks.images import Images

CLAIM = '''
"""Is a larger rate <b>faster</b>?

On a bowl, for a test.
"""
from dataclasses import dataclass
import torch
from adamantine import stats
from adamantine.evidence import above
from adamantine.finding import Curve, Figure, Findings
from adamantine.optim.sgd import sgd
from adamantine.run import Run

@dataclass(frozen=True)
class Bowl:
    """f(w) = w^2."""
    def init(self, rng):
        return {"w": torch.randn(2, generator=rng)}
    def source(self, rng):
        return lambda w: torch.zeros(1)
    def losses(self, w, batch):
        return w["w"].square().sum() + batch
    def score(self, w):
        return {"held_out": float(w["w"].square().sum())}

def one(rate, seed):
    return Run(Bowl(), sgd(rate), 5, seed)

def runs(scale, results):
    first = [one(0.1, s) for s in range(3)]
    if any(results.get(r) is None for r in first):
        return first
    return first + [one(0.2, s) for s in range(3)]

def verdict(scale, results):
    a, b = ([results.get(one(r, s)).last("held_out") for s in range(3)] for r in (0.1, 0.2))
    return Findings("It is.", (above("faster", stats.paired(a, b), 0.0, "log loss", "bowl", ()),))

def figures(scale, results):
    return [Figure("<script>", "c", "x", "y", (Curve("a", [1, 2], [1.0, 2.0]),))]
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "faster.py"
    path.write_text(CLAIM)
    sys.modules.pop("file_faster", None)
    return path


def call(*words, code=0):
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, words)])
    assert end.value.code == code, words


@pytest.fixture
def said(capsys):
    cli.console.width = 400
    return lambda: capsys.readouterr().out


def test_every_claim_of_the_package_can_be_asked():
    assert names()
    for name in names():
        first, rest = question(load(name))
        assert first
        assert rest
        for scale in ("tiny", "laptop", "gpu"):
            assert asked(load(name), scale, Results()), (name, scale)


def test_a_claim_is_asked_until_it_wants_nothing_new(file, tmp_path):
    results, store = Results(), Store(tmp_path / "s")
    events = list(pursue(load(str(file)), "tiny", results, store))
    assert [len(e.runs) for e in events if isinstance(e, Asked)] == [3, 3]
    assert sum(isinstance(e, Result) for e in events) == 6
    assert list(pursue(load(str(file)), "tiny", results, store)) == []


def test_a_claim_of_ones_own_from_the_command_line(file, tmp_path, said):
    words = ("run", file, "--scale", "tiny", "--store", tmp_path / "s", "--jobs", "1")
    call(*words)
    out = said()
    assert "6 runs executed" in out
    assert "supported" in out
    page = tmp_path / "s" / "reports" / "faster-tiny" / "index.html"
    assert str(page) in out
    assert "<script>c" not in page.read_text()
    call(*words)
    assert "0 runs executed" in said()
    page.unlink()
    call("report", file, "--scale", "tiny", "--store", tmp_path / "s", "--pdf")
    assert page.exists()
    assert (page.parent / "paper" / "figure-1.pdf").read_bytes()[:4] == b"%PDF"
    said()
    key = next(Store(tmp_path / "s").results()).key
    call("show", key[:10], "--store", tmp_path / "s")
    out = said()
    assert key in out
    assert "Bowl()" in out
    call("compact", "--store", tmp_path / "s")
    assert "6 runs folded" in said()
    call(*words)
    assert "0 runs executed" in said()


def test_a_corrupt_run_is_redone_and_named(file, tmp_path, said):
    words = ("run", file, "--scale", "tiny", "--store", tmp_path / "s", "--jobs", "1")
    call(*words)
    run = next(r for r in sorted((tmp_path / "s" / "runs").iterdir()))
    (run / "rows.parquet").write_bytes(b"PAR1")
    said()
    call(*words)
    out = said()
    assert run.name in out
    assert "set aside" in out
    assert "1 runs executed" in out


@pytest.mark.parametrize("kind", KINDS)
def test_lists(kind, said):
    call("list", kind)
    out = said()
    assert entries(kind), f"there are no {kind}"
    for e in entries(kind):
        assert e.name in out
        assert e.what, e.name
    if kind == "claims":
        assert "2410.19964" in out


@pytest.mark.parametrize("kind", KINDS)
def test_all_about_one(kind, said):
    first = entries(kind)[0]
    call("list", kind, first.name)
    out = said()
    assert first.module in out
    assert first.what.split("`")[0][:40] in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "rotatoin"), ("rotation", "nearest")),
        (("run", "rotation", "--scale", "laptp"), ("laptop", "nearest")),
        (("run", "nothing.py"), ("no file",)),
        (("show", "zzz"), ("no run's key",)),
        (("list", "tasks", "Langage"), ("no task", "nearest: Language")),
        (("list", "parts", "Emma"), ("no part", "nearest: Ema")),
        (("list", "recipes", "adamww"), ("no recipe", "nearest: adamw")),
        (("list", "parts", "adamw"), ("no part", "adamw is one of the recipes: adamantine list recipes adamw")),
        (("run", "rotation", "--jobs", "0"), ("--jobs 0",)),
        (("run", "rotation", "--device", "cuda:77"), ("--device",)),
        (("report", "rotation", "--scale", "tiny"), ("not in the store", "adamantine run rotation")),
    ],
)
def test_mistakes_get_a_sentence(words, says, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call(*words, code=1)
    out = said()
    assert all(s in out for s in says), out
    assert "Traceback" not in out
    assert len(out.splitlines()) < 5


def test_a_claim_that_fails_to_import_shows_its_own_error(tmp_path, said):
    bad = tmp_path / "bad.py"
    bad.write_text('"""Q?"""\nimport nothing_of_the_kind\n')
    call("run", bad, code=1)
    out = said()
    assert "nothing_of_the_kind" in out
    assert "bad.py" in out
    assert len(out.splitlines()) < 12
    cases = (
        ('"""Q?"""\nfrom adamantine.optim.adam import adamv', "nearest names in adamantine.optim.adam: adam, adamw"),
        ('"""Q?"""\nfrom adamantine.tasks.langage import Language', "nearest modules of adamantine.tasks: language"),
        ("x = 1", "lacks runs"),
        ("def runs(s, r): pass\ndef verdict(s, r): pass\ndef figures(s, r): pass", "docstring"),
        ('"""Q?"""\ndef runs(s, r): return [3]\ndef verdict(s, r): pass\ndef figures(s, r): pass', "returns Runs"),
        ('"""Q?"""\ndef runs(s, r): return 1 / 0\ndef verdict(s, r): pass\ndef figures(s, r): pass', "ZeroDivision"),
    )
    for i, (text, says) in enumerate(cases):
        other = tmp_path / f"bad{i}.py"
        other.write_text(text)
        call("run", other, "--store", tmp_path / "s", code=1)
        assert says in said()


def test_a_verdict_that_fails_loses_nothing(file, tmp_path, said):
    file.write_text(CLAIM.replace('Findings("It is."', 'Nothing("It is."'))
    call("run", file, "--scale", "tiny", "--store", tmp_path / "s", "--jobs", "1", code=1)
    out = said()
    assert "the runs are stored" in out
    assert "NameError" in out
    assert len(list(Store(tmp_path / "s").results())) == 6


def test_failed_runs_hold_back_the_verdict_and_are_tried_again(file, tmp_path, said):
    file.write_text(CLAIM.replace('return w["w"].square().sum() + batch', 'raise OSError("no data today")'))
    words = ("run", file, "--scale", "tiny", "--store", tmp_path / "s", "--jobs", "1")
    call(*words, code=1)
    out = said()
    assert "3 runs failed" in out
    assert "no data today" in out
    call(*words, code=1)
    assert "3 to execute" in said()


def test_an_unwritable_store_is_said_first(file, tmp_path, said):
    (tmp_path / "s").write_text("a file")
    call("run", file, "--store", tmp_path / "s", code=1)
    assert "cannot be written" in said()


def test_a_claim_needs_its_three_parts():
    with pytest.raises(ClaimError, match="nearest"):
        load("rotate")


def test_the_estimate_is_of_what_remains(file):
    watch = Watch(cli.console, expected=8)
    module = load(str(file))
    runs = {str(i): module.one(0.1, i) for i in range(4)}
    assert watch.left() is None
    watch.see(Asked(runs))
    watch.clock -= 10.0
    for i in range(2):
        watch.see(Result(str(i), "done", (), provenance={"seconds": 5.0}))
    assert watch.left() == pytest.approx(30.0, rel=0.05)  # 2 of 8 runs in 10 s
    assert [duration(s) for s in (5, 300, 7200)] == ["5 s", "5 min", "2.0 h"]


def test_what_is_stored_is_not_expected_again(file, tmp_path, monkeypatch):
    seen = []

    class Seen(Watch):
        def __init__(self, console, expected):
            seen.append(expected)
            super().__init__(console, expected)

    monkeypatch.setattr(cli, "Watch", Seen)
    file.write_text(CLAIM + "\n\ndef expected(scale):\n    return 6\n")
    for _ in range(2):
        call("run", file, "--store", tmp_path / "s", "--jobs", "1")
    assert seen == [6, 0]


def test_the_estimate_knows_that_tasks_differ(file):
    watch = Watch(cli.console, expected=0)
    cheap = {f"a{i}": load(str(file)).one(0.1, i) for i in range(2)}
    dear = {f"b{i}": replace(r, task=Images()) for i, r in enumerate(cheap.values())}
    watch.see(Asked(cheap | dear))
    watch.clock -= 10.0
    watch.see(Result("a0", "done", (), provenance={"seconds": 1.0}))
    watch.see(Result("b0", "done", (), provenance={"seconds": 9.0}))
    assert watch.left() == pytest.approx(10.0, rel=0.05)
    watch.see(Result("b1", "done", (), provenance={"seconds": 9.0}))
    assert watch.left() == pytest.approx(10 / 19, rel=0.05)


def test_tasks_take_turns(file):
    module = load(str(file))
    bowls = {f"a{i}": module.one(0.1, i) for i in range(3)}
    images = {f"b{i}": replace(bowls[f"a{i}"], task=Images()) for i in range(2)}
    assert [k for k, _ in interleaved(bowls | images)] == ["a0", "b0", "a1", "b1", "a2"]


def test_the_tiny_rotation_claim_gives_its_verdicts(tmp_path, said):
    call("run", "rotation", "--scale", "tiny", "--store", tmp_path, "--jobs", "1")
    out = said()
    lines = out.splitlines()
    controls = [lines[i - 1] for i, x in enumerate(lines) if "The control: SGD ends where globally rotated SGD" in x]
    assert len(controls) == 2
    assert all("supported" in x for x in controls)
    text = Path(tmp_path / "reports" / "rotation-tiny" / "index.html").read_text()
    assert "advantage" in text
    assert len(text) < 3_000_000
