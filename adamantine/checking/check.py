"""Which assumptions hold along the training of a model, a Python call: runs, judgements, and a page's contents."""

import dataclasses
import difflib
import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from adamantine.checking.envelope import Envelope, envelope
from adamantine.checking.judge import HOLDS, UNKNOWN, VIOLATED, Judgement, judge, stages
from adamantine.checking.measured import NULL, SCALE, VALUE, Measured
from adamantine.finding import INCONCLUSIVE, REFUTED, SUPPORTED, Curve, Figure, Finding, Findings, Table
from adamantine.listing import entries
from adamantine.part import Part
from adamantine.point import Point, stream
from adamantine.result import Results
from adamantine.role import asks, bind
from adamantine.run import Run

CHEAP = 40  # oracle calls at each measured step, up to which an assumption is checked when none is asked for by name
VERDICTS = {HOLDS: SUPPORTED, VIOLATED: REFUTED, UNKNOWN: INCONCLUSIVE}


def assumptions() -> dict[str, Any]:
    """All classes of the package by name."""
    return {e.name: getattr(importlib.import_module(e.module), e.name) for e in entries("assumptions")}


def chosen(names: tuple[str, ...], tensors: int) -> tuple[Any, ...]:
    """Those called `names`; without names all that take few oracle calls on so many tensors. ValueError for others."""
    known = assumptions()
    unknown = [n for n in names if n not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, 3, 0.3) or sorted(known)
        raise ValueError(f"there is no assumption {unknown[0]!r}; nearest: {', '.join(near)}.")
    return tuple(known[n]() for n in names or known if names or _calls(known[n](), tensors) <= CHEAP)


def _calls(assumption: Any, tensors: int) -> int:
    return sum(n * (tensors if k.endswith(" a tensor") else 1) for k, n in assumption.cost.items())


@dataclass(frozen=True)
class Check:
    """`assumptions` on `task`, trained by `optimizer` for `steps`, measured at about `points` steps on `seeds` seeds.

    ValueError where the numbers do not fit.
    """

    task: Any
    optimizer: Part
    assumptions: tuple[Any, ...]
    steps: int = 200
    points: int = 8
    seeds: int = 3

    def __post_init__(self) -> None:
        """Refuse what tells no interval."""
        if self.seeds < 2 or self.points < 4 or self.steps < self.points:
            raise ValueError("check: seeds are at least 2, points at least 4, and steps at least as many as points.")

    def refusals(self) -> dict[str, str]:
        """Assumptions that cannot be measured here, with the sentence in which they say so: tried at the first step."""
        seed = "report/0"
        w = self.task.init(stream(seed, "init"))
        p = Point(self.task, w, self.task.source(stream(seed, "data"))(w), 0, 1, seed)
        part = bind(self.optimizer, self.task.tags()) if asks(self.optimizer) else self.optimizer
        u, s = part.update(p.grad, part.init(w), p)
        if not math.isfinite(float(p.loss)):
            raise ValueError(f"check: the loss of {type(self.task).__name__} is {float(p.loss)} at the first step.")
        out = {}
        for x in self.assumptions:
            try:
                x(dataclasses.replace(p.after(u, s, part), memo={}, notes={}))
            except ValueError as error:
                out[type(x).__name__] = str(error)
        return out

    def runs(self, left_out: tuple[str, ...] = ()) -> list[Run]:
        """One a seed, with every assumption but those left out."""
        probes = tuple(Measured(x) for x in self.assumptions if type(x).__name__ not in left_out)
        every = max(1, self.steps // self.points)
        return [
            Run(self.task, self.optimizer, self.steps, seed, every=every, probes=probes) for seed in range(self.seeds)
        ]

    def series(self, name: str, kind: str, runs: list[Run], results: Results) -> tuple[np.ndarray, np.ndarray]:
        """Steps `[T]` and numbers `[seeds, T]`; NaN where one was not told."""
        found = [r.series(f"{name}/{kind}") for r in (results.get(run) for run in runs) if r is not None]
        steps = sorted({int(t) for at, _ in found for t in at})
        out = np.full((len(found), len(steps)), math.nan)
        for i, (at, x) in enumerate(found):
            out[i, [steps.index(int(t)) for t in at]] = x
        return np.array(steps), out

    def judged(self, name: str, runs: list[Run], results: Results) -> Judgement:
        """The verdict on one of the assumptions."""
        steps, x = self.series(name, VALUE, runs, results)
        if not len(steps):
            return Judgement(UNKNOWN, "It could not be measured at any step.")
        return judge(steps, x, assumptions()[name].larger)

    def envelope(self, assumption: Any, runs: list[Run], results: Results) -> Envelope | None:
        """The constants of an assumption with several of them; None for others, and for too few points."""
        who = type(assumption).__name__
        if not hasattr(assumption, "scales"):
            return None
        found = [f for f in map(results.get, runs) if f is not None]
        names = list(dict.fromkeys(row.name for f in found for row in f.rows if row.name.startswith(f"{who}/{SCALE}/")))
        if not names:
            return None
        _, value = self.series(who, VALUE, runs, results)
        scales = [self.series(who, n.removeprefix(f"{who}/"), runs, results)[1] for n in names]
        bounded = [v * s for v, s in zip(value, scales[0], strict=True)]
        words = [n.removeprefix(f"{who}/{SCALE}/") for n in names]
        return envelope(words, [np.column_stack(x) for x in zip(*scales, strict=True)], bounded)


def findings(check: Check, runs: list[Run], results: Results, refusals: dict[str, str]) -> Findings:
    """Every verdict as a finding; holds is supported, violated refuted, not detectable inconclusive."""
    found, names = [], [type(x).__name__ for x in check.assumptions if type(x).__name__ not in refusals]
    keys = tuple(results.key(r) for r in runs)
    words: dict[str, list[str]] = {HOLDS: [], VIOLATED: [], UNKNOWN: []}
    for name in names:
        j, kind = check.judged(name, runs, results), assumptions()[name]
        words[j.verdict].append(name)
        statement = f"{name}: {kind.statement}. {j.why}"
        rule = f"Refuted by: {kind.refuted[0].lower()}{kind.refuted[1:]} What it means: {kind.means}"
        n = max(check.seeds, 2) if j.verdict != UNKNOWN else check.seeds
        found.append(
            Finding(statement, VERDICTS[j.verdict], j.constant, (j.low, j.high), "", n, rule, "constant", keys=keys)
        )
    said = [f"{', '.join(v)}: {k}" for k, v in words.items() if v]
    notes = [f"{k} was left out: {why}" for k, why in refusals.items()]
    notes.append(
        "Constants are those along this training, at the batches met; a theorem asks for all weights. What bounds from "
        "above is told by its largest value, what bounds from below by its smallest."
    )
    answer = f"Along {check.steps} steps of {check.optimizer!r}, {check.seeds} seeds. {'. '.join(said)}."
    return Findings(answer, tuple(found), tuple(notes))


def items(check: Check, runs: list[Run], results: Results, refusals: dict[str, str]) -> list[Any]:
    """A table of all, and a figure for each assumption."""
    rows, said, drawn, keys, several = [], [], [], tuple(results.key(r) for r in runs), []
    for x in check.assumptions:
        name, kind = type(x).__name__, type(x)
        if name in refusals:
            continue
        j = check.judged(name, runs, results)
        rows.append((name, j.verdict, j.constant, j.low, j.high, j.why))
        said.append((name, kind.statement, kind.null, kind.means, kind.source))
        steps, values = check.series(name, VALUE, runs, results)
        if len(steps) < 2:
            continue
        s = stages(steps, values)
        if (e := check.envelope(x, runs, results)) is not None:
            several += [(name, kind.statement, k, c, *e.seeds[k], e.share) for k, c in e.constants.items()]
        lines = [Curve(name, s.steps.tolist(), s.mean.tolist(), s.low.tolist(), s.high.tolist())]
        at, null = check.series(name, NULL, runs, results)
        if len(at):
            lines.append(Curve("null", at.tolist(), np.nanmean(null, 0).tolist(), style="dash"))
        caption = f"{kind.statement}. Mean over {check.seeds} seeds, 95 % interval. {j.why}"
        scale = "log" if (s.mean > 0).all() else "linear"
        drawn.append(Figure(name, caption, "step", "constant", tuple(lines), y_scale=scale, keys=keys))
    caption = "The constant that serves for all of training, with the 95 % interval where it is taken."
    head = ("assumption", "verdict", "constant", "low", "high", "why")
    words = Table("What they say", "", ("assumption", "statement", "compared with", "means", "source"), tuple(said))
    tables = [Table("Assumptions", caption, head, tuple(rows), keys=keys), words]
    if several:
        tables.append(
            Table(
                "Assumptions with several constants",
                "The lowest plane above all measured points, and the least and greatest constants that single seeds "
                "give. Its mean height over that of an additive constant alone: 1 where the others are of no use.",
                ("assumption", "statement", "multiplies", "constant", "least", "greatest", "height"),
                tuple(several),
            )
        )
    return [*tables, *drawn]
