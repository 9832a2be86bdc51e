"""Keys, checkpoints, tuning, and the folder of results."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from adamantine import checkpoint
from adamantine import key as module_key
from adamantine.key import SCHEMA, key_of, sources
from adamantine.optim.adam import adamw
from adamantine.optim.lr import Lr
from adamantine.result import Result, Results
from adamantine.run import Checkpoint, Row, Run
from adamantine.store import Store, StoreError
from adamantine.tasks.images import Images
from adamantine.tasks.language import Language
from adamantine.tune import tune


def run(**named):
    return Run(Images(), adamw(1e-2), steps=5, **named)


def result(run, status="done", rows=(Row(5, "held_out", 0.5), Row(3, "x", math.nan), Row(4, "y", math.inf))):
    return Result(key_of(run), status, tuple(rows), "" if status == "done" else "because", {"torch": "2"})


def same(a, b):
    return repr(a) == repr(b) and repr(a.rows) == repr(b.rows)  # NaN differs from itself


def test_keys_name_the_spec():
    keys = {key_of(run(seed=s, role=r)) for s in (0, 1) for r in ("tune", "report")}
    assert len(keys) == 4
    assert key_of(run()) == key_of(run())
    assert all(len(k) == 16 for k in keys)


@pytest.mark.parametrize(
    "also", ["pass", "from walk import modules; modules('adamantine'); adamantine.torch_optimizer"]
)
def test_keys_are_the_same_in_another_process_whatever_else_is_imported(also):
    code = (
        f"import adamantine; {also}; from adamantine.key import key_of; from adamantine.optim.adam import adamw;"
        "from adamantine.run import Run; from adamantine.tasks.images import Images;"
        "print(key_of(Run(Images(), adamw(1e-2), steps=5)))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert out.stdout.strip() == key_of(run())


def test_what_a_function_imports_counts_before_it_is_called(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "late.py").write_text(
        TASK.replace("from halves import half\n", "")
        .replace("Mine", "Late")
        .replace("        return half()", "        from later.thirds import third\n\n        return third()")
    )
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "__init__.py").touch()
    (tmp_path / "later" / "thirds.py").write_text("def third():\n    return 1 / 3\n")
    import late

    task = late.Late()
    before = key_of(Run(task, Lr(0.1)))
    assert task.losses(3.0, None) == 1
    assert "later.thirds" in sys.modules
    assert key_of(Run(task, Lr(0.1))) == before
    assert "later.thirds" in sources(Run(task, Lr(0.1)))


TASK = '''
"""A task of the user's own."""
from dataclasses import dataclass
from halves import half

@dataclass(frozen=True)
class Mine:
    """Mine."""
    def losses(self, w, batch):
        """Loss."""
        # a comment
        return half() * w
'''


def test_keys_follow_code_and_not_comments(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text(TASK)
    (tmp_path / "halves.py").write_text("def half():\n    return 0.5\n")
    import mine

    def key(edit=None, file="mine.py"):
        if edit:
            text = (tmp_path / file).read_text()
            assert edit[0] in text
            (tmp_path / file).write_text(text.replace(*edit))
            module_key.source_hash.cache_clear()  # as a new process would
            module_key._imports.cache_clear()
        return key_of(Run(mine.Mine(), Lr(0.1)))

    first = key()
    assert key(("# a comment", "# another")) == first
    assert key(('"""Loss."""', '"""The loss."""')) == first
    assert key(("0.5", "0.25"), "halves.py") != first, "the code it imports counts"
    assert key(("0.25", "0.5"), "halves.py") == first
    assert key(("* w", "* w * w")) != first
    assert {"mine", "halves", "adamantine.run"} <= set(sources(Run(mine.Mine(), Lr(0.1))))


def test_keys_follow_the_data(tmp_path):
    file = tmp_path / "a.txt"
    keys = []
    for text in ("to be or not to be " * 200, "that is the question " * 200):
        file.write_text(text)
        from adamantine.data import text as data

        data.load.cache_clear()
        keys.append(key_of(Run(Language(str(file)), Lr(0.1))))
    assert keys[0] != keys[1]


def test_a_lambda_has_no_identity():
    with pytest.raises(ValueError, match="named at the top of a module"):
        key_of(Run(Images(), Lr(0.1, lambda step, steps: 1.0)))


def test_checkpoints_round_trip(tmp_path):
    shared = torch.randn(3)
    state = {
        "w": {"a": shared, "b": shared[::2], "c": torch.ones(2, 2).T, "d": torch.tensor(1.5)},
        "s": ((0, 2.5, None, "x", True), [shared.double(), {1: math.inf}]),
        "empty": (),
        "rng": torch.Generator().get_state(),
    }
    rows = [Row(1, "loss", math.nan)]
    checkpoint.save(tmp_path / "c" / "k.safetensors", Checkpoint(7, state), rows)
    back, old = checkpoint.load(tmp_path / "c" / "k.safetensors")
    assert back.step == 7
    assert repr(old) == repr(rows)
    assert repr(back.state) == repr(state)
    assert list((tmp_path / "c").iterdir()) == [tmp_path / "c" / "k.safetensors"]
    with pytest.raises(TypeError, match="cannot be checkpointed"):
        checkpoint.save(tmp_path / "k", Checkpoint(0, {"f": print}), [])


@pytest.mark.parametrize("damage", [b"", b"xx", None])
def test_a_damaged_checkpoint_is_no_checkpoint(tmp_path, damage):
    file = tmp_path / "k.safetensors"
    checkpoint.save(file, Checkpoint(7, {"w": torch.ones(100)}), [])
    file.write_bytes(file.read_bytes()[:-40] if damage is None else damage)
    assert checkpoint.load(file) is None
    assert checkpoint.load(tmp_path / "none") is None


def test_what_is_written_is_read(tmp_path):
    store = Store(tmp_path)
    store.check()
    for status, seed in (("done", 0), ("diverged", 1), ("failed", 2)):
        store.write(run(seed=seed), result(run(seed=seed), status))
    back = {r.key: r for r in store.results()}
    assert len(back) == 3
    for status, seed in (("done", 0), ("diverged", 1), ("failed", 2)):
        found = back[key_of(run(seed=seed))]
        assert (found.status, found.finished) == (status, status != "failed")
        assert repr(found.rows) == repr(result(run(), status).rows)
        code = found.provenance["code"]
        assert "adamantine.optim.second_moment" in code
        assert (tmp_path / "code" / f"{code['adamantine.run']}.py").read_text().startswith('"""One training run')
    assert not store.troubles
    found, spec = store.find(key_of(run())[:9])
    assert spec.run == repr(run())
    assert found.status == "done"


def test_a_retried_run_replaces_its_failure(tmp_path):
    store = Store(tmp_path)
    store.write(run(), result(run(), "failed"))
    store.write(run(), result(run()))
    assert [r.status for r in store.results()] == ["done"]


def test_compact_keeps_everything_and_others_can_read_it(tmp_path):
    store = Store(tmp_path)
    for seed in range(3):
        store.write(run(seed=seed), result(run(seed=seed)))
    store.write(run(seed=9), result(run(seed=9), "failed"))
    before = sorted(store.results(), key=lambda r: r.key)
    assert store.compact() == 3
    assert store.compact() == 0
    after = sorted(Store(tmp_path).results(), key=lambda r: r.key)
    assert all(same(a, b) for a, b in zip(before, after, strict=True))
    (folder,) = (tmp_path / "compact").iterdir()
    table = pq.read_table(folder / "rows.parquet")
    assert table.column_names == ["key", "step", "name", "value"]
    assert len(table) == 9
    assert table["value"].null_count == 0
    assert store.find(key_of(run()))[1].task == repr(Images())


def test_samples_survive_writing_and_compaction(tmp_path):
    store, images = Store(tmp_path), {"generated": np.linspace(0, 1, 2 * 3 * 3, dtype=np.float32).reshape(2, 3, 3)}
    store.write(run(), replace(result(run()), samples=images))
    store.write(run(seed=1), result(run(seed=1)))
    for _ in range(2):
        found = {r.key: r for r in Store(tmp_path).results()}
        assert np.array_equal(found[key_of(run())].samples["generated"], images["generated"])
        assert found[key_of(run(seed=1))].samples == {}
        store.compact()
    (file,) = [*tmp_path.glob("compact/*/runs.parquet")]
    assert file.exists()


def test_two_stores_merge_by_copying(tmp_path):
    import shutil

    a, b = Store(tmp_path / "a"), Store(tmp_path / "b")
    a.write(run(seed=0), result(run(seed=0)))
    b.write(run(seed=1), result(run(seed=1)))
    b.compact()
    a.write(run(seed=1), result(run(seed=1)))
    shutil.copytree(b.path, a.path, dirs_exist_ok=True)
    assert len(list(a.results())) == 2


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        ("rows.parquet", lambda x: x[: len(x) // 2], "arquet"),
        ("status.json", lambda x: x[:5], "truncated"),
        ("spec.json", lambda x: x.replace(f'"schema": {SCHEMA}'.encode(), b'"schema": 99'), "schema 99"),
        ("provenance.json", None, "missing"),
    ],
)
def test_what_cannot_be_read_is_set_aside_and_nothing_else_is_touched(tmp_path, file, damage, says):
    store = Store(tmp_path)
    for seed in range(2):
        store.write(run(seed=seed), result(run(seed=seed)))
    bad = tmp_path / "runs" / key_of(run(seed=0)) / file
    if damage is None:
        bad.unlink()
    else:
        bad.write_bytes(damage(bad.read_bytes()))
    assert [r.key for r in store.results()] == [key_of(run(seed=1))]
    (trouble,) = store.troubles
    assert key_of(run(seed=0)) in trouble
    assert says in trouble
    assert len(list((tmp_path / "aside").iterdir())) == 1
    again = Store(tmp_path)
    assert len(list(again.results())) == 1
    assert not again.troubles


def test_a_compacted_store_of_another_schema_is_set_aside(tmp_path):
    store = Store(tmp_path)
    store.write(run(), result(run()))
    spec = tmp_path / "runs" / key_of(run()) / "spec.json"
    text = spec.read_text()
    store.compact()
    (folder,) = (tmp_path / "compact").iterdir()
    table = pq.read_table(folder / "runs.parquet").to_pydict()
    table["spec"] = [text.replace(f'"schema": {SCHEMA}', '"schema": 0')]
    import pyarrow as pa

    pq.write_table(pa.table(table), folder / "runs.parquet")
    assert list(store.results()) == []
    assert "schema 0" in store.troubles[0]


def test_a_folder_that_cannot_be_written_is_said_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="--store"):
        Store(tmp_path / "file").check()


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write(run(seed=1), result(run(seed=1)))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adamantine.store.pq.write_table", full)
    with pytest.raises(StoreError, match=r"No space left.*make room"):
        store.write(run(), result(run()))
    assert [r.key for r in store.results()] == [key_of(run(seed=1))]
    assert not [f for f in (tmp_path / "runs").iterdir() if f.name.startswith(".")]
    monkeypatch.setattr("adamantine.store.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(StoreError, match="make room"):
        store.check()


def test_unknown_keys(tmp_path):
    with pytest.raises(StoreError, match="no run's key"):
        Store(tmp_path).find("abc")


def test_results_answer_for_finished_runs():
    found = Results([result(run())])
    assert found.get(run()).last("held_out") == 0.5
    assert found.get(run(seed=1)) is None
    diverged = result(run(seed=1), "diverged")
    found.add(diverged)
    assert found.get(run(seed=1)).last("held_out") == math.inf
    assert math.isnan(result(run()).last("nothing"))


def losses(best, bad=()):
    """Results of tuning whose loss is a parabola in log rate around `best`."""
    found = Results()

    def make(rate, seed, role):
        return Run(Images(), adamw(rate), 5, seed, role)

    def step(tuned):
        for r in tuned.runs:
            if found.get(r) is None:
                rate = r.optimizer.parts[-1].size
                value = 1 + math.log(rate / best) ** 2 + 0.01 * r.seed
                status = "diverged" if rate in bad else "done"
                found.add(Result(found.key(r), status, (Row(5, "held_out", value),)))

    return found, make, step


def test_tuning_widens_until_the_best_is_inside():
    found, make, step = losses(best=0.4)
    tuned = tune(found, make, (0.01, 0.02, 0.04), widen=6)
    asked = []
    while tuned.best is None:
        asked.append(len(tuned.runs))
        step(tuned)
        tuned = tune(found, make, (0.01, 0.02, 0.04), widen=6)
    assert asked == [6, 8, 10, 12, 14]
    assert (tuned.best, tuned.at_edge) == (0.32, False)
    assert sorted(tuned.losses) == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64]
    assert all(r.role == "tune" for r in tuned.runs)


def test_tuning_says_when_it_stopped_at_the_edge():
    found, make, step = losses(best=1e3)
    for _ in range(3):
        tuned = tune(found, make, (0.01, 0.02, 0.04), widen=1)
        step(tuned)
    assert tuned.at_edge
    assert tuned.best == 0.08


def test_a_rate_that_diverges_on_one_seed_is_not_best():
    found, make, step = losses(best=0.02, bad=(0.02,))
    for _ in range(5):
        tuned = tune(found, make, (0.01, 0.02, 0.04))
        step(tuned)
    assert tuned.losses[0.02] == math.inf
    assert tuned.best in (0.01, 0.04)


def test_tuning_may_not_leak_into_reporting():
    found, _, _ = losses(best=0.02)
    with pytest.raises(ValueError, match="role"):
        tune(found, lambda rate, seed, role: Run(Images(), adamw(rate), 5, seed), (0.01, 0.02, 0.04))
    with pytest.raises(ValueError, match="three"):
        tune(found, lambda rate, seed, role: Run(Images(), adamw(rate), 5, seed, role), (0.01, 0.02))


def test_provenance_is_json(tmp_path):
    store = Store(tmp_path)
    store.write(run(), result(run()))
    text = (tmp_path / "runs" / key_of(run()) / "provenance.json").read_text()
    assert json.loads(text)["torch"] == "2"
