"""What a terminal shows while runs execute: how far, how many, and about how long still."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from adamantine.claim import Asked
from adamantine.engine import Progress as Reached
from adamantine.result import Result

LINE_EVERY = 15.0


class Watch:
    """Follows the events of `claim.pursue`: a bar on a terminal, a line every fifteen seconds elsewhere.

    The estimate takes all steps to cost what the steps so far have cost, and `expected` for the runs in all.
    """

    def __init__(self, console: Console, expected: int) -> None:
        self.console, self.expected = console, expected
        self.lengths: dict[str, int] = {}
        self.done: dict[str, int] = {}
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
            self.lengths |= {key: run.steps for key, run in event.runs.items()}
        elif isinstance(event, Result):
            self.done[event.key] = self.lengths[event.key]
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
        done = sum(self.done.values())
        if not done:
            return None
        total = sum(self.lengths.values()) * max(1.0, self.expected / len(self.lengths))
        return max(0.0, total - done) * (time.monotonic() - self.clock) / done

    def _show(self) -> None:
        left = self.left()
        words = "" if left is None else f"about {duration(left)} left"
        total = max(self.expected, len(self.lengths))
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
