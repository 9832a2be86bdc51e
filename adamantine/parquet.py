"""Results as Parquet: the rows of one run, and many runs folded into two files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

from adamantine.result import Result
from adamantine.run import Row

COLUMNS = ("step", "name", "value")


def rows_table(rows: Sequence[Row]) -> pa.Table:
    """Columns step, name, value; NaN stays NaN and is no null."""
    return pa.table(
        {
            "step": pa.array([r.step for r in rows], pa.int64()),
            "name": pa.array([r.name for r in rows], pa.string()),
            "value": pa.array([r.value for r in rows], pa.float64(), from_pandas=False),
        }
    )


def rows_of(table: pa.Table) -> tuple[Row, ...]:
    """Inverse of `rows_table`. Raises KeyError where a column is missing."""
    columns = (table[c].to_pylist() for c in COLUMNS)
    return tuple(Row(*row) for row in zip(*columns, strict=True))


def fold(folder: Path, found: Sequence[tuple[Result, str]]) -> None:
    """Write results, each with its spec as JSON, as `runs.parquet` (a row a run) and `rows.parquet` (a row a number).

    Task, optimizer, seed and role have columns of their own, for those who query the files directly; samples are
    the bytes of a safetensors file.
    """
    specs = [msgspec.json.decode(spec, type=dict[str, Any]) for _, spec in found]
    runs = {
        "key": [r.key for r, _ in found],
        "status": [r.status for r, _ in found],
        "why": [r.why for r, _ in found],
        "spec": [spec for _, spec in found],
        "provenance": [msgspec.json.encode(r.provenance).decode() for r, _ in found],
        "samples": pa.array([safetensors.numpy.save(r.samples) if r.samples else None for r, _ in found], pa.binary()),
        **{name: [spec[name] for spec in specs] for name in ("task", "optimizer", "steps", "seed", "role")},
    }
    keys = [r.key for r, _ in found for _ in r.rows]
    rows = rows_table([row for r, _ in found for row in r.rows])
    pq.write_table(pa.table(runs), folder / "runs.parquet")
    pq.write_table(rows.add_column(0, "key", pa.array(keys, pa.string())), folder / "rows.parquet")


def unfold(folder: Path) -> list[tuple[Result, str]]:
    """What `fold` wrote. Raises OSError, ArrowException, KeyError or msgspec's error where it is not whole."""
    runs = pq.read_table(folder / "runs.parquet").to_pylist()
    table = pq.read_table(folder / "rows.parquet")
    rows: dict[str, list[Row]] = {r["key"]: [] for r in runs}
    for key, row in zip(table["key"].to_pylist(), rows_of(table), strict=True):
        rows[key].append(row)
    out = []
    for r in runs:
        provenance = msgspec.json.decode(r["provenance"], type=dict[str, Any])
        samples = safetensors.numpy.load(r["samples"]) if r["samples"] else {}
        result = Result(r["key"], r["status"], tuple(rows[r["key"]]), r["why"], provenance, samples)
        out.append((result, r["spec"]))
    return out
