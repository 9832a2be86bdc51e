"""What a terminal shows while runs execute: how far, how many, and about how long still."""

import time
from collections import defaultdict
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from adamantine.claim import Asked
from adamantine.result import Result
from adamantine.run import Run
from adamantine.work import Progress as Reached

LINE_EVERY = 15.0


class Watch:
    """Follows the events of `claim.pursue`: a bar on a terminal, a line every fifteen seconds elsewhere.

    The estimate takes a step of a task to cost what its finished runs have cost, and `expected` for the runs in all.
    """

    def __init__(self, console: Console, expected: int) -> None:
        self.console, self.expected = console, expected
        self.runs: dict[str, Run] = {}
        self.done: dict[str, int] = {}  # steps, by run
        self.seconds: dict[str, float] = {}  # of finished runs
        self.ended = self.failed = 0
        self.clock = self.told = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("runs", total=expected, left="")

    def __enter__(self) -> "Watch":
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def see(self, event: Asked | Reached | Result) -> None:
        """Take in one event."""
        if isinstance(event, Asked):
            self.runs |= event.runs
        elif isinstance(event, Result):
            self.done[event.key] = self.runs[event.key].steps
            self.seconds[event.key] = float(event.provenance.get("seconds", 0.0))
            self.ended += 1
            if event.status == "failed":
                self.failed += 1
                last = event.why.strip().splitlines()[-1]
                self.console.print(Text(f"run {event.key} failed: {last}", style="red"))
        else:
            self.done[event.key] = event.step
        self._show()

    def left(self) -> float | None:
        """Seconds that remain, or None before anything can be said."""
        spent: dict[Any, float] = defaultdict(float)
        steps: dict[Any, int] = defaultdict(int)
        for key, seconds in self.seconds.items():
            spent[self.runs[key].task] += seconds
            steps[self.runs[key].task] += self.runs[key].steps
        if not sum(spent.values()):
            return None
        usual = sum(spent.values()) / sum(steps.values())
        cost = {run.task: usual for run in self.runs.values()} | {task: spent[task] / steps[task] for task in spent}
        whole = sum(cost[run.task] * run.steps for run in self.runs.values()) * max(1.0, self.expected / len(self.runs))
        done = sum(cost[self.runs[key].task] * n for key, n in self.done.items())
        return max(0.0, whole - done) * (time.monotonic() - self.clock) / done

    def _show(self) -> None:
        left = self.left()
        words = "" if left is None else f"about {duration(left)} left"
        total = max(self.expected, len(self.runs))
        self.bar.update(self.task, completed=self.ended, total=total, left=words)
        if not self.console.is_terminal and time.monotonic() - self.told > LINE_EVERY:
            self.told = time.monotonic()
            self.console.print(f"{self.ended} of {total} runs; {words or 'no estimate yet'}")


def duration(seconds: float) -> str:
    """Words for a length of time, to one or two figures."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
