"""What became of a run, read back: status, rows and samples."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adamantine.key import key_of
from adamantine.run import Row, Run

DONE, DIVERGED, FAILED = "done", "diverged", "failed"


@dataclass(frozen=True)
class Result:
    """A run that ended: `status` is done, diverged or failed; `why` says why not done.

    `samples` holds named stacks of grey images `[N, H, W]` in [0, 1], where the task draws any.
    """

    key: str
    status: str
    rows: tuple[Row, ...] = field(repr=False)
    why: str = ""
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)
    samples: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def finished(self) -> bool:
        """Done and diverged are results; what failed is to be run again."""
        return self.status in (DONE, DIVERGED)

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of the rows called `name`."""
        rows = [r for r in self.rows if r.name == name]
        return np.array([r.step for r in rows], dtype=int), np.array([r.value for r in rows], dtype=float)

    def last(self, name: str) -> float:
        """The last value of `name`; infinity for a diverged run, NaN where it was never recorded."""
        if self.status == DIVERGED:
            return float("inf")
        values = self.series(name)[1]
        return float(values[-1]) if len(values) else float("nan")


class Results:
    """The results a claim may look at: ask with a `Run`, get a `Result` or None."""

    def __init__(self, found: Iterable[Result] = ()) -> None:
        self._found = {r.key: r for r in found}
        self._keys: dict[Run, str] = {}

    def key(self, run: Run) -> str:
        """The run's key, computed once."""
        if run not in self._keys:
            self._keys[run] = key_of(run)
        return self._keys[run]

    def get(self, run: Run) -> Result | None:
        """The finished result of `run`, or None."""
        return self._found.get(self.key(run))

    def add(self, result: Result) -> None:
        """Take in a result that has just finished."""
        self._found[result.key] = result

    def __len__(self) -> int:
        """How many results are known."""
        return len(self._found)
