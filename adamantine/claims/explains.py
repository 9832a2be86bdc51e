"""Which assumption's constant ranks optimizers by their speed?

Theorems on optimizers rest on assumptions whose constants depend on the coordinates or on the update: smoothness in the
maximum norm, the (1,1)-norm, orthogonality of updates and thirty more. An assumption that explains speed must rank
optimizers by it. Thirty arms, which differ by one dial each (what is rotated, in blocks of what size, how far; what
shares a second moment; how often a singular basis is renewed; singular values forced; other rules), are tuned alike and
timed to the loss that AdamW reaches half way. Every assumption of the package is measured for every arm at the same
weights and batches (AdamW's own path, three stages, random probes in common), so that coordinates are told apart from
where they lead, and the cheap ones along each arm's own path too. The score is Kendall's tau over the pairs of arms
whose speeds differ, with an interval over arms, seeds and stages, a permutation p-value corrected for the number tried,
and the test that counts: the assumption that is best on the other tasks, on a task it has not seen. A rotated arm and
its twin that shares the second moment are equally fast; an assumption that tells them apart does not explain speed.
After arXiv:2410.19964 and arXiv:2410.08198, whose six and four bases are too few for a rank correlation.
"""

import dataclasses
import importlib
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from adamantine import stats
from adamantine.comparison import Comparison
from adamantine.data.glyphs import Glyphs
from adamantine.evidence import above
from adamantine.explaining import board
from adamantine.explaining.arms import REFERENCE, TWINS, arms
from adamantine.explaining.board import Score
from adamantine.explaining.own_basis import OwnBasis
from adamantine.explaining.shared import Shared
from adamantine.finding import Curve, Figure, Findings, Heat, Table
from adamantine.listing import entries
from adamantine.nets.decoder import Decoder, sized
from adamantine.nets.mlp import Mlp
from adamantine.nets.resnet import ResNet
from adamantine.nets.vit import Vit
from adamantine.result import Results
from adamantine.run import Run
from adamantine.stats import Effect
from adamantine.tasks.images import Images
from adamantine.tasks.language import Language

CHEAP = 12  # oracle calls up to which a constant is measured along every arm's own path
HALF, ENOUGH = 0.5, 0.8
TRIVIAL = {"cosine": "faster", "agreement": "faster"}
STRENGTHS = "turned by "


@dataclass(frozen=True)
class Board:
    """The arms on one task, and the runs in which all of them are measured at one place."""

    comparison: Comparison
    measures: tuple[Any, ...]
    measured: int
    warm: int

    def shared(self, results: Results) -> list[Run]:
        """The reference at its tuned rate, with every assumption for every arm; none while it is being tuned."""
        c = self.comparison
        best = c.tuned(c.arm(REFERENCE), results).best
        if best is None:
            return []
        return [
            dataclasses.replace(
                c.run(c.arm(REFERENCE), best, seed, "report"),
                probes=(Shared(self._parts(seed), tuple(x() for x in self.measures), self.warm),),
            )
            for seed in range(self.measured)
        ]

    def _parts(self, seed: int) -> tuple[tuple[str, Any], ...]:
        return tuple((a.name, a.make(a.grid[len(a.grid) // 2], seed)) for a in self.comparison.arms)


@cache
def assumptions() -> tuple[Any, ...]:
    """All classes of the package, found by walking it."""
    return tuple(getattr(importlib.import_module(e.module), e.name) for e in entries("assumptions"))


@cache
def local() -> tuple[Any, ...]:
    """Those that can be told before a run has ended."""
    return tuple(x for x in assumptions() if "keep" not in {f.name for f in dataclasses.fields(x)})


@cache
def cheap() -> tuple[Any, ...]:
    """Those that cost few oracle calls."""
    return tuple(x for x in assumptions() if sum(x().cost.values()) <= CHEAP)


def boards(scale: str) -> tuple[Board, ...]:
    """The tasks of this scale with their arms."""
    if scale == "tiny":
        text = Language(model=Decoder(context=16, width=16, depth=1, heads=2), batch=8, limit=200_000, held_out=16)
        named = {"language": (text, 12), "images, perceptron": (_glyphs(Mlp(256, 34, 16, 1), 16), 12)}
        setting: dict[str, Any] = {"rates": 3, "seeds": 3, "tuning_seeds": 1, "widen": 0, "measured": 1, "warm": 3}
        setting["few"] = True
    elif scale == "laptop":
        text = Language(model=Decoder(context=32, width=32, depth=1), batch=32)
        images = {
            "images, perceptron": (_glyphs(Mlp(256, 34)), 500),
            "images, ResNet": (_glyphs(ResNet(1, 34, 8, blocks=1)), 300),
        }
        named = {"language": (text, 300), **images}
        setting = {"rates": 3, "seeds": 4, "tuning_seeds": 2, "widen": 2, "measured": 2, "warm": 20}
    else:
        text = Language(model=sized("small"), batch=64, limit=20_000_000, held_out=512)
        images = {
            "images, perceptron": (_glyphs(Mlp(256, 34, 512, 3), 256), 4000),
            "images, Vit": (_glyphs(Vit(1, 16, 34, width=128, depth=4), 256), 4000),
            "images, ResNet": (_glyphs(ResNet(1, 34, 32, blocks=2), 256), 4000),
        }
        named = {"language": (text, 4000), **images}
        setting = {"rates": 5, "seeds": 5, "tuning_seeds": 2, "widen": 3, "measured": 3, "warm": 20}
    return tuple(_board(name, task, steps, **setting) for name, (task, steps) in named.items())


def _board(
    name: str, task: Any, steps: int, rates: int, measured: int, warm: int, few: bool = False, **setting: Any
) -> Board:
    found = arms(task.tags(), rates, tuple(OwnBasis(x()) for x in cheap()), few)
    measures = tuple(x for x in local() if not few or x in cheap())
    return Board(Comparison(name, task, found, steps, every=max(1, steps // 2), **setting), measures, measured, warm)


def _glyphs(net: Any, batch: int = 64) -> Images:
    return Images(Glyphs(), net, batch)


def runs(scale: str, results: Results) -> list[Run]:
    """Tuning and reporting of every arm, and the runs in which all are measured."""
    return [run for b in boards(scale) for run in (*b.comparison.runs(results), *b.shared(results))]


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    found = ((b, b.comparison) for b in boards(scale))
    return sum(len(c.arms) * (c.tuning_seeds * len(c.arms[0].grid) + c.seeds) + b.measured for b, c in found)


def slow(b: Board, results: Results) -> np.ndarray:
    """Log of the steps to the reference's half-way loss over the reference's, `[arms, seeds]`; capped at the end."""
    c = b.comparison
    target = c.targets(REFERENCE, results, [HALF])[0]
    times = np.array([np.minimum(c.times(a.name, target, results), c.steps) for a in c.arms])
    return np.log(times) - np.log(times[0])


def predictors(b: Board, results: Results) -> dict[str, tuple[np.ndarray, str]]:
    """By name, the constants `[arms, measurements]` and what theory says of a larger one; "own: ..." on own paths."""
    c, found = b.comparison, {}
    told = [r for r in (results.get(run) for run in b.shared(results)) if r is not None]
    for name, larger in {**{x.__name__: x.larger for x in b.measures}, **TRIVIAL}.items():
        rows = [np.concatenate([r.series(f"{name}/{a.name}")[1] for r in told]) for a in c.arms]
        found[name] = np.array(rows), larger
    for x in cheap():
        series = [[r.series(x.__name__)[1] for r in c.results(a.name, results)] for a in c.arms]
        found[f"own: {x.__name__}"] = np.array([[_middle(s) for s in row] for row in series]), x.larger
    return {k: (x, larger) for k, (x, larger) in found.items() if x.size and not np.isnan(x).all()}


def _middle(x: np.ndarray) -> float:
    told = x[np.isfinite(x)]
    return float(np.median(told)) if len(told) else math.nan


def scored(b: Board, results: Results) -> dict[str, Score]:
    """What every predictor is worth on this task; those that do not tell the arms apart are left out."""
    rng, y = np.random.default_rng(0), slow(b, results)
    found = {k: board.score(x, y, larger, rng) for k, (x, larger) in predictors(b, results).items()}
    return {k: s for k, s in found.items() if s.arms}


def verdict(scale: str, results: Results) -> Findings:
    """How the best predictor of the other tasks ranks on each, and what the best of each task comes to."""
    found = boards(scale)
    scores = {b.comparison.name: scored(b, results) for b in found}
    carried = board.transfer(scores)
    unseen, seen, notes = [], [], []
    for b in found:
        c, own = b.comparison, scores[b.comparison.name]
        keys = tuple(results.key(run) for run in b.shared(results))
        name, there, _ = carried[c.name]
        chosen = own.get(name)
        statement = f"{name or 'No predictor'}, the best on the other tasks (tau {there:.2f}), ranks the arms here"
        unseen.append(above(statement, _effect(chosen, c.seeds), ENOUGH, "Kendall's tau", c.name, keys))
        if own:
            best = max(own, key=lambda k: own[k].tau)
            p = stats.holm([own[k].p for k in own])[[*own].index(best)]
            statement = f"{best}, the best on this task of {len(own)} (corrected p = {p:.3g}), ranks its arms"
            seen.append(above(statement, _effect(own[best], c.seeds), ENOUGH, "Kendall's tau", c.name, keys))
            lucky = board.luck(len(c.arms), slow(b, results), len(own), np.random.default_rng(1))
            notes.append(
                f"{c.name}: the best of {len(own)} random predictors reaches a tau of {lucky:.2f} in one of 20."
            )
        notes += c.notes(results)
    notes.append(
        "Intervals resample arms, seeds and measurements; the arms are those tried, not a sample of all optimizers."
    )
    return Findings(_answer(carried, found), (*unseen, *seen), tuple(notes))


def _effect(s: Score | None, n: int) -> Effect:
    return stats.UNKNOWN if s is None else Effect(s.tau, s.low, s.high, n)


def _answer(carried: dict[str, tuple[str, float, float]], found: tuple[Board, ...]) -> str:
    words = [f"{name or 'none'} on {task}, with {tau:.2f}" for task, (name, _, tau) in carried.items()]
    taus = [tau for _, _, tau in carried.values()]
    whole = min(taus) if all(math.isfinite(t) for t in taus) else math.nan
    first = "An assumption" if whole >= ENOUGH else "No assumption"
    many = len(found[0].comparison.arms)
    ranks = f"{first} ranks the speed of {many} optimizers with a Kendall's tau of {ENOUGH} on every task that it"
    return f"{ranks} was not chosen on; chosen on the other tasks: {'; '.join(words)}."


def figures(scale: str, results: Results) -> list[Any]:
    """The board, the best predictor against speed, the dials, the twins, and every arm."""
    found = boards(scale)
    scores = {b.comparison.name: scored(b, results) for b in found}
    return [
        _heat(scores),
        *(_scatter(b, scores[b.comparison.name], results) for b in found if scores[b.comparison.name]),
        _dial(found, results),
        _table(scores),
        *(_twins(b, results) for b in found),
        *(_arms(b, results) for b in found),
    ]


def _heat(scores: dict[str, dict[str, Score]]) -> Heat:
    names = dict.fromkeys(k for s in scores.values() for k in s)
    taus = {k: [s[k].tau if k in s else math.nan for s in scores.values()] for k in names}
    ordered = sorted(names, key=lambda k: -np.nanmean(taus[k]) if not np.isnan(taus[k]).all() else 2.0)
    caption = (
        "Kendall's tau with the slow-down, over pairs of arms whose speeds differ, counted so that 1 is what theory "
        "says. First measured at one place for all arms; own: along each arm's own path."
    )
    values = tuple(tuple(taus[k]) for k in ordered)
    return Heat("The board", caption, "", "", tuple(scores), tuple(ordered), values, "tau", "diverging")


def _scatter(b: Board, scores: dict[str, Score], results: Results) -> Figure:
    best = max(scores, key=lambda k: scores[k].tau)
    x, y = board.summary(predictors(b, results)[best][0]), slow(b, results)
    bands = [stats.mean(row.tolist()) for row in y]
    curves = [
        Curve(a.name, [float(v)], [e.value], [e.low], [e.high], style="points")
        for a, v, e in zip(b.comparison.arms, x, bands, strict=True)
        if math.isfinite(v)
    ]
    title = f"{best} and speed on {b.comparison.name}"
    caption = "Every arm: the constant, and the log of its steps to the reference's half-way loss over the reference's."
    scale = "log" if (x[np.isfinite(x)] > 0).all() else "linear"
    return Figure(title, caption, best, "log slow-down", tuple(curves), x_scale=scale)


def _dial(found: tuple[Board, ...], results: Results) -> Figure:
    curves = []
    for b in found:
        names, y = [a.name for a in b.comparison.arms], slow(b, results)
        dialled = [n for n in names if n.startswith(STRENGTHS)]
        bands = [stats.mean(y[names.index(n)].tolist()) for n in dialled]
        values, low, high = ([getattr(e, part) for e in bands] for part in ("value", "low", "high"))
        curves.append(Curve(b.comparison.name, [float(n.removeprefix(STRENGTHS)) for n in dialled], values, low, high))
    caption = "Layers turned by plane rotations, from none (0) to all coordinates of a layer mixed (1)."
    return Figure("A rotation that is turned up", caption, "strength", "log slow-down", tuple(curves), x_scale="log")


def _table(scores: dict[str, dict[str, Score]]) -> Table:
    rows = []
    for task, own in scores.items():
        corrected = stats.holm([s.p for s in own.values()])
        ordered = sorted(zip(own.items(), corrected, strict=True), key=lambda pair: -pair[0][1].tau)
        for (name, s), p in ordered:
            rows.append((task, name, s.tau, s.low, s.high, p, s.slope, s.arms, s.pairs))
    head = ("task", "predictor", "tau", "low", "high", "p, corrected", "slope", "arms", "pairs")
    caption = "Intervals at 95 % over arms, seeds and measurements; slope of log slow-down on log constant."
    return Table("Every predictor", caption, head, tuple(rows))


def _twins(b: Board, results: Results) -> Table:
    names, y = [a.name for a in b.comparison.arms], slow(b, results)
    pairs = [(names.index(k), names.index(v)) for k, v in TWINS.items()]
    apart = [stats.mean((y[i] - y[j]).tolist()) for i, j in pairs]
    rows: list[tuple[Any, ...]] = [("log slow-down", *(e.value for e in apart))]
    for name, (x, _) in predictors(b, results).items():
        one = board.summary(x)
        spread = np.nanstd(one[np.isfinite(one)]) if np.isfinite(one).any() else 0.0
        if spread > 0 and not name.startswith("own"):
            rows.append((name, *(float((one[i] - one[j]) / spread) for i, j in pairs)))
    caption = "Rotated arm less the twin that shares the second moment; constants in deviations over all arms."
    return Table(f"Twins on {b.comparison.name}", caption, ("", *(f"{k} / {v}" for k, v in TWINS.items())), tuple(rows))


def _arms(b: Board, results: Results) -> Table:
    c, y, rows = b.comparison, slow(b, results), []
    for a, times in zip(c.arms, y, strict=True):
        e, last = stats.mean(times.tolist()), c.last(a.name, results)
        best = c.tuned(a, results).best
        rows.append((a.name, best, math.exp(e.value), math.exp(e.low), math.exp(e.high), float(np.mean(last))))
    head = ("arm", "rate", "times the steps", "low", "high", f"final {c.metric}")
    return Table(
        f"Arms on {c.name}", "Steps to the reference's half-way loss, over the reference's.", head, tuple(rows)
    )
