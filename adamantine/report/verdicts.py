"""Findings arranged for reading: the chief one of every task, then a row a statement with a column a task."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from adamantine.finding import Finding


@dataclass(frozen=True)
class Row:
    """One statement on several tasks: what its findings share, and each finding by task with what only it says."""

    statement: str
    cells: dict[str, tuple[Finding, str]]

    @property
    def first(self) -> Finding:
        """The finding that stands for what all share: unit and rule."""
        return next(iter(self.cells.values()))[0]

    @property
    def shared(self) -> bool:
        """Whether all have one level and one number of seeds, to be said once."""
        return len({(f.level, f.n) for f, _ in self.cells.values()}) == 1


def chief(findings: Sequence[Finding]) -> list[Finding]:
    """The first finding of every task."""
    first: dict[str, Finding] = {}
    for f in findings:
        first.setdefault(f.task, f)
    return list(first.values())


def rows(findings: Sequence[Finding]) -> list[Row]:
    """Neighbouring findings that say the same of different tasks, joined.

    They say the same where unit and rule agree and so do their statements, up to what follows a semicolon or
    stands in parentheses: that much may differ from task to task.
    """
    found: list[list[Finding]] = []
    for f in findings:
        if found and _joins(found[-1], f):
            found[-1].append(f)
        else:
            found.append([f])
    return [_row(same) for same in found]


def _joins(same: list[Finding], f: Finding) -> bool:
    known = {(g.unit, g.rule) for g in same} == {(f.unit, f.rule)}
    return known and f.task not in {g.task for g in same} and bool(_stem([*same, f]))


def _row(same: list[Finding]) -> Row:
    stem = _stem(same)
    return Row(stem, {f.task: (f, f.statement[len(stem) :].strip("; ")) for f in same})


def _stem(same: list[Finding]) -> str:
    stems = ({f.statement, *(f.statement[: m.start()] for m in re.finditer(r"; | \(", f.statement))} for f in same)
    return max(set.intersection(*stems), key=len, default="")
