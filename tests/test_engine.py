"""Runs end as results whatever happens to them: errors, dead workers, interruption, resumption."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adamantine.engine import execute
from adamantine.key import key_of
from adamantine.module import load_file
from adamantine.result import Result
from adamantine.store import Store, StoreError
from adamantine.work import Progress, groups, work

TASKS = '''
"""Tasks that go wrong."""
import os
import time
from dataclasses import dataclass
import torch
from adamantine.optim.sgd import sgd
from adamantine.run import Run

@dataclass(frozen=True)
class Line:
    """f(w) = w."""
    does: str = ""
    def init(self, rng):
        return {"w": torch.zeros(2)}
    def source(self, rng):
        return lambda w: torch.randn(3, generator=rng)
    def losses(self, w, batch):
        if self.does == "raise":
            raise RuntimeError("the moon is wrong")
        if self.does == "die":
            os._exit(7)
        if self.does == "sleep":
            time.sleep(0.02)
        return w["w"].square().sum() + batch + (float("nan") if self.does == "diverge" else 0)
    def score(self, w):
        return {"held_out": float(w["w"].sum())}

def run(does="", steps=5, seed=0):
    return Run(Line(does), sgd(0.1), steps, seed, every=1)

@dataclass(frozen=True)
class Many(Line):
    """Runs of it are stacked; "some" raise at a draw."""
    stacks = True
    def source(self, rng):
        bad = self.does == "some" and torch.rand((), generator=rng) > 0.5
        def draw(w):
            if bad:
                raise RuntimeError("the moon is wrong")
            return torch.randn(3, generator=rng)
        return draw
    def losses(self, w, batch):
        if self.does == "sleep":
            time.sleep(0.02)
        return w["w"].square().sum() + w["w"].sum() * batch

def many(n, does="", steps=5):
    return [Run(Many(does), sgd(0.1 + 0.1 * (i % 3)), steps, i, every=1) for i in range(n)]
'''


@pytest.fixture
def tasks(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text(TASKS)
    sys.modules.pop("file_wrong", None)
    return load_file(file)


def finished(runs, store, **named):
    keyed = [(key_of(r), r) for r in runs]
    return {e.key: e for e in execute(keyed, store, **named) if isinstance(e, Result)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_end_is_a_result_and_stored(tasks, tmp_path, jobs):
    store = Store(tmp_path / "store")
    ends = {"": "done", "raise": "failed", "diverge": "diverged"} | ({"die": "failed"} if jobs > 1 else {})
    runs = {does: tasks.run(does) for does in ends}
    runs |= {f"after {i}": tasks.run(seed=i + 1) for i in range(3)}
    found = finished(runs.values(), store, jobs=jobs, files=[Path(tasks.__file__)])
    assert len(found) == len(runs)
    for does, run in runs.items():
        assert found[key_of(run)].status == ends.get(does, "done")
    assert "the moon is wrong" in found[key_of(runs["raise"])].why
    assert found[key_of(runs["raise"])].why.startswith("Traceback")
    assert "step 0" in found[key_of(runs["diverge"])].why
    if jobs > 1:
        assert "exit code 7" in found[key_of(runs["die"])].why
    stored = {r.key: r for r in store.results()}
    assert {k: r.status for k, r in stored.items()} == {k: r.status for k, r in found.items()}
    facts = stored[key_of(runs[""])].provenance
    assert {"python", "torch", "adamantine", "threads", "seconds", "device", "started", "code"} <= set(facts)


def test_workers_give_the_rows_that_this_process_gives(tasks, tmp_path):
    runs = [tasks.run(seed=i) for i in range(4)]
    here = finished(runs, Store(tmp_path / "a"))
    there = finished(runs, Store(tmp_path / "b"), jobs=2, files=[Path(tasks.__file__)])
    assert {k: r.rows for k, r in here.items()} == {k: r.rows for k, r in there.items()}


def test_an_interrupted_run_goes_on_from_its_checkpoint(tasks, tmp_path, monkeypatch):
    monkeypatch.setattr("adamantine.work.TOLD_EVERY", -1.0)  # each step is told, however slow the machine
    store, run = Store(tmp_path / "store"), tasks.run("sleep", steps=12)
    key = key_of(run)
    for event in work([(key, run)], store, checkpoint_every=0):
        if isinstance(event, Progress):
            break  # as Ctrl-C does: the generator is closed, nothing is written
    events = work([(key, run)], store, checkpoint_every=0)
    for event in events:
        if isinstance(event, Progress) and event.step >= 9:
            break
    events.close()
    assert store.checkpoint(key).exists()
    assert not list(store.results())
    (result,) = finished([run], store).values()
    assert result.provenance["resumed"] >= 8
    assert not store.checkpoint(key).exists()
    (whole,) = finished([run], Store(tmp_path / "other")).values()
    assert result.rows == whole.rows


def test_a_disk_that_fills_up_under_a_checkpoint_stops_with_a_sentence(tasks, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    store = Store(tmp_path / "store")
    finished([tasks.run(seed=1)], store)
    monkeypatch.setattr("adamantine.checkpoint.save_file", full)
    with pytest.raises(StoreError, match=r"No space left.*make room"):
        finished([tasks.run("sleep", steps=12)], store, checkpoint_every=0)
    assert [r.key for r in store.results()] == [key_of(tasks.run(seed=1))]


def test_samples_of_a_task_are_stored_with_its_run(tasks, tmp_path):
    tasks.Line.samples = lambda self, w: {"lines": w["w"][None, None]}
    (result,) = finished([tasks.run()], Store(tmp_path / "s")).values()
    (stored,) = Store(tmp_path / "s").results()
    assert result.samples["lines"].shape == stored.samples["lines"].shape == (1, 1, 2)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_goes_on_where_it_was(tmp_path, how):
    """`kill -9` or Ctrl-C half way: what was finished is stored whole, and the next call executes only the rest."""
    claim = tmp_path / "slow.py"
    claim.write_text(
        TASKS.replace('"""Tasks that go wrong."""', '"""Is it slow?\n\nA test."""')
        + """
from adamantine.finding import Findings

def runs(scale, results):
    return [run("sleep", 15, seed) for seed in range(8)]

def verdict(scale, results):
    return Findings("yes", ())

def figures(scale, results):
    return []
"""
    )
    command = [sys.executable, "-m", "adamantine", "run", str(claim), "--store", str(tmp_path / "s"), "--jobs", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "s" / "runs").glob("[!.]*"))) < 2:
        assert time.monotonic() < deadline, "the first runs never finished"
        time.sleep(0.02)
    os.killpg(process.pid, how)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert ("interrupted: what is finished is stored" in said) == (how == signal.SIGINT)
    assert "Traceback" not in said
    stored = {r.key for r in Store(tmp_path / "s").results()}
    assert 2 <= len(stored) < 8
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{len(stored)} runs known, {8 - len(stored)} to execute" in again.stdout
    assert f"{8 - len(stored)} runs executed" in again.stdout
    assert len(list(Store(tmp_path / "s").results())) == 8


def test_runs_that_gain_by_it_are_stacked_and_go_as_they_would_alone(tasks, tmp_path):
    runs = [*tasks.many(7), tasks.run()]
    keyed = [(key_of(r), r) for r in runs]
    assert [len(g) for g in groups(keyed, 1)] == [7, 1]
    assert [len(g) for g in groups(keyed, 2)] == [3, 4, 1]
    assert [len(g) for g in groups([(str(i), r) for i, r in enumerate(tasks.many(81))], 1)] == [27, 27, 27]
    found = finished(runs, Store(tmp_path / "together"), jobs=2, files=[Path(tasks.__file__)])
    assert {r.provenance["stacked"] for r in found.values()} == {1, 3, 4}
    for run in runs:
        (alone,) = finished([run], Store(tmp_path / "apart")).values()
        together = found[alone.key]
        assert together.status == alone.status == "done"
        assert [(r.step, r.name) for r in together.rows] == [(r.step, r.name) for r in alone.rows]
        assert [r.value for r in together.rows] == pytest.approx([r.value for r in alone.rows], rel=1e-4, abs=1e-5)


def test_one_of_a_stack_that_raises_does_not_take_the_others_with_it(tasks, tmp_path):
    found = finished(tasks.many(6, "some"), Store(tmp_path / "store"))
    ends = [r.status for r in found.values()]
    assert {"failed", "done"} == set(ends)
    assert all("the moon is wrong" in r.why for r in found.values() if r.status == "failed")


def test_an_interrupted_stack_goes_on_from_its_checkpoint(tasks, tmp_path, monkeypatch):
    monkeypatch.setattr("adamantine.work.TOLD_EVERY", -1.0)
    store, runs = Store(tmp_path / "store"), tasks.many(3, "sleep", 12)
    keyed = [(key_of(r), r) for r in runs]
    events = work(keyed, store, checkpoint_every=0)
    for event in events:
        if isinstance(event, Progress) and event.step >= 9:
            break
    events.close()
    assert not list(store.results())
    found = finished(runs, store)
    assert all(r.provenance["resumed"] >= 8 for r in found.values())
    assert not list((tmp_path / "store" / "checkpoints").iterdir())
    whole = finished(runs, Store(tmp_path / "other"))
    assert {k: r.rows for k, r in found.items()} == {k: r.rows for k, r in whole.items()}


def test_one_of_a_stack_that_diverges_is_a_result(tasks, tmp_path):
    runs = [*tasks.many(3, steps=40), tasks.Run(tasks.Many(), tasks.sgd(1e30), 40, 9, every=1)]
    found = finished(runs, Store(tmp_path / "store"))
    assert [found[key_of(r)].status for r in runs] == ["done"] * 3 + ["diverged"]
    assert "no longer finite at step" in found[key_of(runs[3])].why
    assert found[key_of(runs[3])].last("held_out") == float("inf")
