"""The results on disk: a folder of finished runs, each there whole or not at all.

    STORE/runs/KEY/{spec.json, rows.parquet, status.json, provenance.json}    one run, renamed into place
                   samples.safetensors                                        ... and the images it drew, if any
    STORE/compact/NAME/{runs.parquet, rows.parquet}                           many runs folded by `compact`
    STORE/code/HASH.py                                                        source snapshots, by content
    STORE/checkpoints/KEY.safetensors                                         runs in flight
    STORE/aside/                                                              what could not be read

There is no database and no lock: writers never touch each other's folders, and two stores merge by copying one
over the other. pandas, Polars and DuckDB read the Parquet files without this package.
"""

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

from adamantine.key import SCHEMA, sources
from adamantine.parquet import fold, rows_of, rows_table, unfold
from adamantine.result import Result
from adamantine.run import Run

LEAST_FREE = 50_000_000
UNREADABLE = (ValueError, KeyError, OSError, msgspec.MsgspecError, pa.ArrowException, safetensors.SafetensorError)
SAMPLES = "samples.safetensors"


class StoreError(Exception):
    """The store cannot be used as asked; the message is a sentence for the user."""


class Spec(msgspec.Struct):
    """What a run was: the constructor call, and its parts in words for those who read the store elsewhere."""

    schema: int
    key: str
    run: str
    task: str
    optimizer: str
    steps: int
    seed: int
    role: str


class Status(msgspec.Struct):
    """How a run ended."""

    status: str
    why: str = ""


class Store:
    """Results under the folder `path`, which is made when something is first written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.troubles: list[str] = []  # a sentence for every run that was set aside

    def check(self) -> None:
        """Raise StoreError, before any run starts, where results could not be written."""
        try:
            (self.path / "runs").mkdir(parents=True, exist_ok=True)
            probe = self.path / "runs" / f".probe.{os.getpid()}"
            probe.write_bytes(b"\0" * 4096)
            probe.unlink()
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            raise StoreError(
                f"the store {str(self.path)!r} cannot be written ({error.strerror}); choose another with --store."
            ) from error
        if free < LEAST_FREE:
            raise StoreError(
                f"the disk of the store {str(self.path)!r} has {free / 1e6:.0f} MB left, less than "
                f"{LEAST_FREE / 1e6:.0f}; make room or choose another with --store."
            )

    def write(self, run: Run, result: Result) -> None:
        """Put a run that ended into place whole, with its code. Raises StoreError where the disk refuses."""
        spec = Spec(SCHEMA, result.key, repr(run), repr(run.task), repr(run.optimizer), run.steps, run.seed, run.role)
        self.put(spec, result, sources(run))

    def put(self, spec: Spec, result: Result, code: dict[str, str] | None = None) -> None:
        """`write`, of what `spec` says in words; `code` are source texts by module."""
        final = self.path / "runs" / result.key
        aside = self.path / "runs" / f".{result.key}.{uuid.uuid4().hex[:8]}"
        try:
            aside.mkdir(parents=True)
            provenance = {**result.provenance, "code": self._snapshot(code or {})}
            (aside / "spec.json").write_bytes(_json(spec))
            (aside / "provenance.json").write_bytes(_json(provenance))
            (aside / "status.json").write_bytes(_json(Status(result.status, result.why)))
            pq.write_table(rows_table(result.rows), aside / "rows.parquet")
            if result.samples:
                (aside / SAMPLES).write_bytes(safetensors.numpy.save(result.samples))
            if final.exists():  # a failed attempt, or another writer's equal result
                shutil.rmtree(final, ignore_errors=True)
            try:
                aside.rename(final)
            except OSError:
                if not final.exists():
                    raise
                shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise StoreError(
                f"run {result.key} could not be written to {str(self.path)!r} ({error.strerror}); the runs before it "
                "are safe: make room, then give the same command again."
            ) from error
        if result.finished:
            self.checkpoint(result.key).unlink(missing_ok=True)

    def checkpoint(self, key: str) -> Path:
        """Where the run `key` keeps its checkpoint."""
        return self.path / "checkpoints" / f"{key}.safetensors"

    def results(self) -> Iterator[Result]:
        """Every run that can be read, whatever its status; what cannot is set aside, with a sentence in `troubles`."""
        seen = set()
        for folder in self._folders("runs"):
            result = self._read(folder)
            if result is not None:
                seen.add(result.key)
                yield result
        for folder in self._folders("compact"):
            for result in self._compacted(folder):
                if result.key not in seen:
                    seen.add(result.key)
                    yield result

    def find(self, prefix: str) -> tuple[Result, Spec]:
        """The one run whose key starts with `prefix`. Raises StoreError where there is none, or several."""
        found = [r for r in self.results() if r.key.startswith(prefix)]
        if len(found) != 1:
            some = ", ".join(r.key for r in found[:5])
            what = f"several runs start with {prefix!r}: {some}" if found else f"no run's key starts with {prefix!r}"
            raise StoreError(f"in the store {str(self.path)!r} {what}; a page's run keys can be given whole.")
        return found[0], self.spec(found[0].key)

    def spec(self, key: str) -> Spec:
        """The spec of the run `key`, which must be in the store."""
        file = self.path / "runs" / key / "spec.json"
        if file.exists():
            return msgspec.json.decode(file.read_bytes(), type=Spec)
        for folder in self._folders("compact"):
            for result, spec in unfold(folder):
                if result.key == key:
                    return msgspec.json.decode(spec, type=Spec)
        raise StoreError(f"the store {str(self.path)!r} has no run {key!r}.")

    def compact(self) -> int:
        """Fold the finished runs that have folders of their own into Parquet; how many there were."""
        found = [(f, r) for f in self._folders("runs") if (r := self._read(f)) is not None and r.finished]
        if not found:
            return 0
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        aside = self.path / "compact" / f".{name}"
        aside.mkdir(parents=True)
        fold(aside, [(result, (folder / "spec.json").read_text()) for folder, result in found])
        aside.rename(self.path / "compact" / name)
        for folder, _ in found:
            shutil.rmtree(folder)
        return len(found)

    def _folders(self, kind: str) -> list[Path]:
        return sorted((self.path / kind).glob("[!.]*"))

    def _read(self, folder: Path) -> Result | None:
        try:
            spec = msgspec.json.decode((folder / "spec.json").read_bytes(), type=Spec)
            _check_schema(spec)
            if spec.key != folder.name:
                raise ValueError(f"its spec belongs to the run {spec.key}")
            status = msgspec.json.decode((folder / "status.json").read_bytes(), type=Status)
            provenance = msgspec.json.decode((folder / "provenance.json").read_bytes(), type=dict[str, Any])
            rows = rows_of(pq.read_table(folder / "rows.parquet"))
            file = folder / SAMPLES
            samples = safetensors.numpy.load(file.read_bytes()) if file.exists() else {}
            return Result(spec.key, status.status, rows, status.why, provenance, samples)
        except FileNotFoundError as error:
            if not folder.exists():  # another process has just compacted it
                return None
            self._set_aside(folder, f"{Path(str(error.filename)).name} is missing")
        except UNREADABLE as error:
            self._set_aside(folder, _first_line(error))
        return None

    def _compacted(self, folder: Path) -> list[Result]:
        try:
            found = unfold(folder)
            for _, spec in found:
                _check_schema(msgspec.json.decode(spec, type=Spec))
            return [result for result, _ in found]
        except UNREADABLE as error:
            self._set_aside(folder, _first_line(error))
            return []

    def _set_aside(self, folder: Path, why: str) -> None:
        to = self.path / "aside" / f"{folder.name}-{uuid.uuid4().hex[:6]}"
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(to)
            where = f"it is set aside in {str(to)!r}"
        except OSError:
            where = "it is left where it is, unread"
        self.troubles.append(f"run {folder.name} cannot be read ({why}); {where} and will be run again.")

    def _snapshot(self, code: dict[str, str]) -> dict[str, str]:
        """Module names with the hash under which `code/` holds their source."""
        out = {}
        for name, text in code.items():
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            file = self.path / "code" / f"{digest}.py"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                aside = file.with_name(f".{digest}.{os.getpid()}")
                aside.write_text(text)
                aside.replace(file)
            out[name] = digest
        return out


def _json(x: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(x), indent=1)


def _check_schema(spec: Spec) -> None:
    if spec.schema != SCHEMA:
        raise ValueError(f"it was written by schema {spec.schema}, and this version reads {SCHEMA}")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
