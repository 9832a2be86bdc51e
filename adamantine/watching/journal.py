"""What was measured, on disk as it comes: a line of JSON a measurement, which a killed program leaves behind.

    STORE/watching/KEY/spec.json     what is watched
                       rows.jsonl    {"step": 16, "rows": {"loss": 1.5, ...}}
                       facts.json    what it cost, what was unavailable, and so on, as of a few seconds ago

A line that was torn, by a full disk or a kill, is left out on reading.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from adamantine.key import SCHEMA
from adamantine.result import Result
from adamantine.run import Row
from adamantine.store import Spec, Store

LOG = logging.getLogger("adamantine.watch")
FOLDER = "watching"
INTERRUPTED = "interrupted"


class Journal:
    """Lines for the journal of the run `spec.key`; what cannot be written is kept, told of once, and tried again."""

    def __init__(self, store: Path, spec: Spec) -> None:
        self.folder, self.spec = store / FOLDER / spec.key, spec
        self.lines: list[str] = []
        self.torn = self.told = False

    def measured(self, step: int, rows: Mapping[str, float]) -> None:
        """Numbers of one step."""
        self.lines.append(json.dumps({"step": step, "rows": rows}))

    def flush(self, facts: Mapping[str, Any] | None = None) -> None:
        """Write what has not been written, and the facts, if given, in the place of those before."""
        try:
            if not (self.folder / "spec.json").exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / "spec.json").write_bytes(msgspec.json.encode(self.spec))
            if facts is not None:
                (self.folder / ".facts").write_text(json.dumps(facts))
                (self.folder / ".facts").replace(self.folder / "facts.json")
            with (self.folder / "rows.jsonl").open("a") as file:
                file.write("".join(f"{line}\n" for line in [""] * self.torn + self.lines))
        except OSError as error:
            self.torn = True  # some of it may have been written: the next line begins on a new one
            if not self.told:
                self.told = True
                LOG.warning("%s cannot be written (%s); its numbers are kept, and tried again.", self.folder, error)
            return
        self.lines, self.torn = [], False

    def rows(self) -> tuple[Row, ...]:
        """All of them, those in memory included."""
        return _parsed(_text(self.folder / "rows.jsonl").splitlines() + self.lines)

    def remove(self) -> None:
        """The run has a better place now."""
        shutil.rmtree(self.folder, ignore_errors=True)


def read(folder: Path) -> tuple[Result, Spec]:
    """The run whose journal lies in `folder`, as far as it came; `provenance` has its facts.

    Raises OSError or msgspec's error where there is none.
    """
    spec = msgspec.json.decode((folder / "spec.json").read_bytes(), type=Spec)
    rows = _parsed(_text(folder / "rows.jsonl").splitlines())
    facts = json.loads(_text(folder / "facts.json") or "{}")
    spec.steps = max((r.step + 1 for r in rows), default=0)
    return Result(spec.key, INTERRUPTED, rows, "the program ended without closing the watch", facts), spec


def interrupted(store: Store) -> list[tuple[Result, Spec]]:
    """Every watched run of the store that was not closed, or is still going."""
    found = []
    for folder in sorted((store.path / FOLDER).glob("*")):
        try:
            found.append(read(folder))
        except (OSError, msgspec.MsgspecError):
            continue
    return found


def spec_of(key: str, words: str, task: str, optimizer: str, seed: int) -> Spec:
    """The spec of a watched run: words in the places of constructor calls."""
    return Spec(SCHEMA, key, words, task, optimizer, 0, seed, "watch")


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _parsed(lines: list[str]) -> tuple[Row, ...]:
    rows = []
    for line in lines:
        try:
            entry = json.loads(line)
            rows += [Row(int(entry["step"]), str(k), float(x)) for k, x in entry["rows"].items()]
        except (ValueError, TypeError, AttributeError, KeyError):
            continue  # torn
    return tuple(rows)
