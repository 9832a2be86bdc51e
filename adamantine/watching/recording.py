"""What a watch tells: rows to the journal and to receivers, sentences to the log, in the end a run to the store."""

import logging
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from adamantine.result import DONE, Result
from adamantine.store import Store, StoreError
from adamantine.watching.journal import INTERRUPTED, Journal, spec_of
from adamantine.watching.sinks import Sinks
from adamantine.work import provenance

LOG = logging.getLogger("adamantine.watch")
FLUSH = 5.0  # seconds after which numbers are written, measured or not
HOLD = 1000  # ... or so many of them


class Recording:
    """The run `key`, called `name`, of the store; `words` say what its task and optimizer are."""

    def __init__(
        self,
        store: str | Path,
        name: str,
        words: Mapping[str, str],
        seed: int,
        to: Sequence[Any],
        clock: Callable[[], float],
    ) -> None:
        self.store, self.name, self.key, self.words = Store(store), name, uuid.uuid4().hex[:16], dict(words)
        self.spec = spec_of(self.key, f"watch of {name}", words["model"], words["optimizer"], seed)
        self.journal, self.sinks, self.notes = Journal(self.store.path, self.spec), Sinks(to), []
        self.final: Result | None = None
        self.clock, self.flushed, self.started = clock, -math.inf, datetime.now(UTC)

    def tell(self, step: int, rows: Mapping[str, float], now: bool, facts: Callable[[], dict[str, Any]]) -> None:
        """Numbers of a step, on disk `now` or in a few seconds, as the facts are."""
        self.journal.measured(step, rows)
        self.sinks.send(step, rows)
        late = self.clock() - self.flushed > FLUSH
        if late:
            self.flushed = self.clock()
            self.journal.flush(facts())
        elif now or len(self.journal.lines) > HOLD:
            self.journal.flush()

    def note(self, sentence: str, once: str | None = None) -> None:
        """Keep a sentence and log it, unless there is one that begins as `once`, or as it does itself."""
        if not any(x.startswith(once or sentence) for x in self.notes):
            self.notes.append(sentence)
            LOG.warning("%s", sentence)

    def facts(self) -> dict[str, Any]:
        """Of its own: names, beginning, sentences."""
        started = self.started.isoformat(timespec="seconds")
        return {"name": self.name, **self.words, "started": started, "notes": list(self.notes)}

    def result(self, facts: Mapping[str, Any], status: str = INTERRUPTED) -> Result:
        """All that was told so far."""
        if self.final is not None:
            return self.final
        return Result(self.key, status, self.journal.rows(), provenance=dict(facts))

    def finish(self, facts: Mapping[str, Any], device: torch.device) -> bool:
        """Write the run into the store and remove its journal; whether that could be done."""
        self.journal.flush(facts)
        self.spec.steps = facts["steps"]
        try:
            final = self.result({**provenance(str(device)), **facts}, DONE)
            self.store.put(self.spec, final)
        except StoreError as error:
            LOG.warning("%s", error)
            return False
        self.journal.remove()
        self.final = final
        return True

    def page(self) -> Path | None:
        """Write the page of the run; None, and a line in the log, where that fails."""
        try:
            # Only here: pages take a while to import.
            return import_module("adamantine.watching.page").report(self.store, self.key)
        except Exception as error:
            LOG.warning("the page of %s could not be written (%s); its numbers are in the store.", self.name, error)
            return None
