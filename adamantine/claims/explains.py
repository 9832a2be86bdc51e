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

import math
from dataclasses import replace
from typing import Any

import numpy as np

from adamantine import stats
from adamantine.evidence import above
from adamantine.explaining import board
from adamantine.explaining.arms import TWINS
from adamantine.explaining.board import Score
from adamantine.explaining.boards import TRIVIAL, Board, boards, expected, predictors, rate_and_offset, runs, slow
from adamantine.finding import Curve, Figure, Finding, Findings, Heat, Table
from adamantine.result import Results
from adamantine.stats import Effect

__all__ = ["expected", "figures", "runs", "verdict"]

ENOUGH = 0.8
STRENGTHS = "turned by "


def scored(b: Board, results: Results) -> dict[str, Score]:
    """What every predictor is worth on this task; those that do not tell the arms apart are left out."""
    rng, y = np.random.default_rng(0), slow(b, results)
    found = {k: board.score(x, y, larger, rng) for k, (x, larger) in predictors(b, results).items()}
    return {k: s for k, s in found.items() if s.arms}


def verdict(scale: str, results: Results) -> Findings:
    """How the best predictor of the other tasks ranks on each, and what the best of each task comes to."""
    found = boards(scale)
    scores = {b.comparison.name: scored(b, results) for b in found}
    carried = board.transfer({task: _assumptions(s) for task, s in scores.items()})
    unseen, seen, apart, notes = [], [], [], []
    for b in found:
        c, whole = b.comparison, scores[b.comparison.name]
        own = _assumptions(whole)
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
            lasting, passing = rate_and_offset(b, results)
            apart.append(_part(b, results, chosen and name, lasting, "the rate at which arms train from then on", keys))
            apart.append(_part(b, results, chosen and name, passing, "what they lose once", keys))
        notes += [_trivial(c.name, whole), *c.notes(results)]
    lasting_ = board.transfer({b.comparison.name: _lasting(b, results) for b in found})
    words = [f"{name or 'none'} on {task} (tau {tau:.2f})" for task, (name, _, tau) in lasting_.items()]
    notes.append(f"Chosen by the rate that lasts on the other tasks, with its tau on this one: {'; '.join(words)}.")
    notes.append(
        "Intervals resample arms, seeds and measurements; the arms are those tried, not a sample of all optimizers."
    )
    return Findings(_answer(carried, found), (*unseen, *seen, *apart), tuple(notes))


def _lasting(b: Board, results: Results) -> dict[str, Score]:
    """Concordances with the rate that lasts, without intervals."""
    y, told = rate_and_offset(b, results)[0], predictors(b, results)
    taus = {k: board.tau(x, y, larger) for k, (x, larger) in told.items() if k not in TRIVIAL}
    return {k: replace(board.UNTOLD, tau=t) for k, t in taus.items()}


def _part(b: Board, results: Results, name: str | None, y: np.ndarray, what: str, keys: tuple[str, ...]) -> Finding:
    """Whether the predictor chosen elsewhere ranks one part of the slow-down."""
    told = predictors(b, results).get(name or "")
    s = None if told is None else board.score(told[0], y, told[1], np.random.default_rng(2))
    effect = _effect(s if s is not None and s.arms else None, b.comparison.seeds)
    statement = f"{name or 'No predictor'}, the best on the other tasks, ranks {what}"
    return above(statement, effect, 0.0, "Kendall's tau", b.comparison.name, keys)


def _assumptions(scores: dict[str, Score]) -> dict[str, Score]:
    """Without what no assumption is needed for."""
    return {k: s for k, s in scores.items() if k not in TRIVIAL}


def _trivial(task: str, scores: dict[str, Score]) -> str:
    """What an assumption has to beat."""
    told = [f"the {k} of update and gradient reaches {scores[k].tau:.2f}" for k in TRIVIAL if k in scores]
    return f"{task}: for comparison, {' and '.join(told) or 'nothing trivial tells the arms apart'}."


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
        _parts(found, scores, results),
        _table(scores),
        *(_twins(b, results) for b in found),
        *(_arms(b, results) for b in found),
    ]


def _heat(scores: dict[str, dict[str, Score]]) -> Heat:
    names = dict.fromkeys(k for s in scores.values() for k in s)
    taus = {k: [s[k].tau if k in s else math.nan for s in scores.values()] for k in names}
    caption = (
        "Kendall's tau with the slow-down, over pairs of arms whose speeds differ, counted so that 1 is what theory "
        "says. First measured at one place for all arms; own: along each arm's own path."
    )
    return _ordered("The board", caption, tuple(scores), taus)


def _ordered(title: str, caption: str, columns: tuple[str, ...], taus: dict[str, list[float]]) -> Heat:
    """A row a predictor, the one with the largest mean first, those without any last."""
    rows = sorted(taus, key=lambda k: -np.nanmean(taus[k]) if not np.isnan(taus[k]).all() else 2.0)
    values = tuple(tuple(taus[k]) for k in rows)
    return Heat(title, caption, "", "", columns, tuple(rows), values, "tau", "diverging")


def _parts(found: tuple[Board, ...], scores: dict[str, dict[str, Score]], results: Results) -> Heat:
    """What of a slow-down is ranked, and by constants of which stage."""
    names = dict.fromkeys(k for s in scores.values() for k in s)
    columns, taus = [], {k: [] for k in names}
    for b in found:
        y, told = slow(b, results), predictors(b, results)
        lasting, passing = rate_and_offset(b, results)
        stages = max(x.shape[1] for k, (x, _) in told.items() if not k.startswith("own"))
        asked = {"rate": (lasting, None), "offset": (passing, None)}
        asked |= {f"stage {i + 1}": (y, i) for i in range(stages)}
        columns += [f"{b.comparison.name}: {k}" for k in asked]
        for k in names:
            x, larger = told.get(k, (np.full((len(y), 1), math.nan), ""))
            for of, stage in asked.values():
                own = x if stage is None else x[:, [stage]] if stage < x.shape[1] and not k.startswith("own") else None
                taus[k].append(math.nan if own is None else board.tau(own, of, larger))
    caption = (
        "Kendall's tau with the rate at which arms train (what lasts), with the offset (what they lose once), and with "
        "the slow-down for constants of one stage of training only, early to late."
    )
    return _ordered("What of speed, and when", caption, tuple(columns), taus)


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
            with np.errstate(invalid="ignore"):  # infinite for both
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
