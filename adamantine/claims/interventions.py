"""Which assumptions foretell what an intervention does to the speed of optimizers?

That a constant goes with speed over many optimizers may have a common cause. An intervention changes one thing, and a
constant that explains speed must change with it, in the direction that theory says. Seven kinds: a network is turned so
that its function stays; classes are balanced; all examples are seen at once; the eigenvalues of a quadratic are sorted
into blocks; layers are rotated; singular values of updates are forced to be equal; and a rotated arm is put beside its
twin that shares the second moment. Where speeds are equal the constant should stay. Where an intervention changes the
gap between the final losses of two optimizers, an assumption speaks of it by the ratio of its constants for both,
measured at the same weights and batches. An assumption scores 1 where it says what happened, -1 where it says the
opposite and 0 where it says nothing, and is judged by the mean over the kinds. The runs are those of the claims
`gauge-rotation`, `class-imbalance`, `noise-not-main`, `block-heterogeneity` and `explains`, and a few in which
constants are measured.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from adamantine import stats
from adamantine.comparison import Comparison
from adamantine.evidence import above, within
from adamantine.explaining import batch_share, block_order, class_balance, network_turned
from adamantine.explaining.arms import REFERENCE, TWINS
from adamantine.explaining.boards import Board, boards, slow
from adamantine.explaining.boards import expected as expected_of_boards
from adamantine.explaining.boards import runs as runs_of_boards
from adamantine.explaining.intervention import (
    Intervention,
    alike,
    change,
    gap,
    larger,
    measured,
    on_board,
    said,
    spreads,
)
from adamantine.finding import INCONCLUSIVE, Findings, Heat, Table
from adamantine.result import Results
from adamantine.run import Run
from adamantine.stats import Effect

SAME = 0.1  # of the log of steps; an interval within it counts as equal speed
SHARE = 0.25  # of a constant's deviation over arms, within which constants count as equal
FORCED = "singular values to 0"
SEEDS = 3  # in which constants are measured
KINDS = 3  # of intervention, below which an assumption is not judged
Side = list[Comparison]


def contrasts(scale: str) -> dict[tuple[str, str, str], tuple[str, str, float, Side, Side]]:
    """By kind, task and statement: the fast arm, the slow one, the least loss, where the gap is large, where small."""
    texts = batch_share.comparisons(scale)
    shares = {
        ("all examples at once", k, "Without noise SGD is further behind Adam than with it"): (
            batch_share.ADAM, batch_share.SGD, batch_share.LEAST, [x[-1]], [x[0]],
        )
        for k, x in texts.items()
    }  # fmt: skip
    heavy, even = (class_balance.replicates(scale, balanced) for balanced in (False, True))
    sorted_, dealt = block_order.quadratics(scale)
    classes = ("classes balanced", "logistic regression", "With heavy-tailed classes SGD is further behind Adam")
    blocks = ("blocks sorted", "quadratic", "With sorted blocks gradient descent is further behind Adam")
    return {
        classes: (class_balance.ADAM, class_balance.SGD, batch_share.LEAST, heavy, even),
        **shares,
        blocks: (block_order.ADAM, block_order.DESCENT, block_order.LEAST, [sorted_], [dealt]),
    }


def _constants(scale: str, c: Comparison, fast: str, slow_: str, results: Results) -> list[Run]:
    warm, seeds = (3, 2) if scale == "tiny" else (20, SEEDS)
    return measured(c, fast, slow_, min(seeds, c.seeds), warm, results)


def runs(scale: str, results: Results) -> list[Run]:
    """Those of the boards, of the turned network, and of both sides of every contrast, with their constants."""
    turned = network_turned.comparison(scale).runs(results)
    turned += [r for found in network_turned.measured(scale, results).values() for r in found]
    out = [*runs_of_boards(scale, results), *turned]
    for fast, slow_, _, one, other in contrasts(scale).values():
        for c in (*one, *other):
            out += [*c.runs(results), *_constants(scale, c, fast, slow_, results)]
    return out


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    own = [c for _, _, _, one, other in contrasts(scale).values() for c in (*one, *other)]
    cs = [network_turned.comparison(scale), *own]
    return expected_of_boards(scale) + sum(
        len(c.arms) * (c.tuning_seeds * len(c.arms[0].grid) + c.seeds) + 2 * SEEDS for c in cs
    )


def found(scale: str, results: Results) -> list[Intervention]:
    """All interventions, with what happened and what was said."""
    out = [_turned(scale, results)]
    for (kind, task, statement), (fast, slow_, least, one, other) in contrasts(scale).items():
        gaps, words = [], []
        for side in (one, other):
            gaps.append([x for c in side for x in gap(c, fast, slow_, least, results)])
            asked = [r for c in side for r in _constants(scale, c, fast, slow_, results)]
            words.append(said(asked, results))
        effect = stats.mean([a - b for a, b in zip(*gaps, strict=True)])
        keys = tuple(k for c in (*one, *other) for k in c.keys(results, fast, slow_))
        out.append(Intervention(kind, task, statement, effect, change(*words), keys, unit="times the final loss"))
    for b in boards(scale):
        out += _of_board(b, results)
    return out


def _turned(scale: str, results: Results) -> Intervention:
    c, here = network_turned.comparison(scale), network_turned.at_switch(scale, results)
    cost = network_turned.cost_of(c, network_turned.TURNED, network_turned.AFRESH, results, network_turned.SWITCH)
    keys = c.keys(results, network_turned.TURNED, network_turned.AFRESH)
    if cost.within(SAME):
        scale_of = spreads(boards(scale)[0], results)
        moved = {k: abs(float(x[:, here].mean())) for k, x in network_turned.changes(scale, results).items()}
        alike_ = {k: [float(moved[k] <= SHARE * s)] for k, (_, s) in scale_of.items() if k in moved}
        statement = "A network turned after a third of training, its function kept, is trained as fast"
        return Intervention("network turned", c.name, statement, cost, alike_, keys, equal=True)
    signs = {k: 1 if side == "slower" else -1 for k, side in larger().items()}
    words = {k: (signs[k] * x[:, here]).tolist() for k, x in network_turned.changes(scale, results).items()}
    statement = "A network turned after a third of training, its function kept, is trained more slowly"
    return Intervention("network turned", c.name, statement, cost, words, keys)


def _of_board(b: Board, results: Results) -> list[Intervention]:
    c, y, out = b.comparison, slow(b, results), []
    names = [a.name for a in c.arms]
    arms = {"layers rotated": ("layers rotated", REFERENCE), "singular values forced": (REFERENCE, FORCED)}
    statements = {
        "layers rotated": "With layers rotated AdamW is slower",
        "singular values forced": "Without forced singular values AdamW is slower",
    }
    for kind, (one, two) in arms.items():
        if one in names and two in names:
            effect = stats.mean((y[names.index(one)] - y[names.index(two)]).tolist())
            words, keys = on_board(b, one, two, results), c.keys(results, one, two)
            out.append(Intervention(kind, c.name, statements[kind], effect, words, keys))
    apart = {pair: stats.mean((y[names.index(pair[0])] - y[names.index(pair[1])]).tolist()) for pair in TWINS.items()}
    pairs = [pair for pair, e in apart.items() if abs(e.value) <= SAME]
    if pairs:
        each = [float(np.mean([y[names.index(p)][i] - y[names.index(q)][i] for p, q in pairs])) for i in range(c.seeds)]
        effect, keys = stats.mean(each), c.keys(results, *(k for p in pairs for k in p))
        statement = f"{len(pairs)} of {len(TWINS)} rotated arms are as fast as their twins"
        if effect.within(SAME):
            words = alike(b, pairs, SHARE, results)
            out.append(Intervention("twins", c.name, statement, effect, words, keys, True))
    return out


def scores(all_: list[Intervention]) -> dict[str, dict[str, float]]:
    """By assumption and kind, the mean score over tasks; kinds that tell nothing are left out."""
    out: dict[str, dict[str, float]] = {}
    for name in larger():
        kinds: dict[str, list[float]] = {}
        for x in all_:
            if not math.isnan(s := x.score(name)):
                kinds.setdefault(x.kind, []).append(s)
        out[name] = {k: float(np.mean(v)) for k, v in kinds.items()}
    return out


def judged(by: dict[str, dict[str, float]], tried: int = 1) -> dict[str, Effect]:
    """The mean over kinds with Student's interval, kept within its ends, for those that tell of three at least.

    At 95 % for all of the `tried` together (Bonferroni).
    """
    out = {}
    for name, kinds in by.items():
        if len(kinds) >= KINDS:
            e = stats.mean([*kinds.values()], 1 - 0.05 / tried)
            out[name] = Effect(e.value, max(e.low, -1.0), min(e.high, 1.0), e.n, e.level)
    return dict(sorted(out.items(), key=lambda pair: -pair[1].value))


def verdict(scale: str, results: Results) -> Findings:
    """What every intervention did, and whether assumptions foretold it."""
    all_ = found(scale, results)
    by = scores(all_)
    alone = judged(by)
    judgements = judged(by, len(alone))
    kinds = [*dict.fromkeys(x.kind for x in all_)]
    all_.sort(key=lambda x: kinds.index(x.kind))  # the same of several tasks side by side
    done = [
        within(x.statement, x.observed, SAME, x.unit, x.task, x.keys, math.exp)
        if x.equal
        else above(x.statement, x.observed, 0.0, x.unit, x.task, x.keys, math.exp)
        for x in all_
    ]
    keys, unit = tuple(dict.fromkeys(k for x in all_ for k in x.keys)), "of 1 for always right, -1 for always wrong"
    told = [
        replace(above(f"{name} foretells what interventions do", e, 0.0, unit, "all", keys), replicates="kinds")
        for name, e in judgements.items()
    ]
    right = [f.statement.split()[0] for f in told if f.verdict == "supported"]
    wrong = [f.statement.split()[0] for f in told if f.verdict == "refuted"]
    best = next(iter(alone.items()), None)
    first = f"Of {len(judgements)} measures, {len(right)} are shown to foretell what interventions do to speed"
    answer = f"{first} ({', '.join(right) or 'none'}); {len(wrong)} say the opposite ({', '.join(wrong) or 'none'})."
    if best is not None:
        alone_ = f"{best[1].value:.2f} ({best[1].low:.2f} to {best[1].high:.2f} if it had been the only one tried)"
        answer += f" The best, {best[0]}, scores {alone_}."
    shown = [f for i, f in enumerate(told) if not i or f.verdict != INCONCLUSIVE]  # the table has the others
    return Findings(answer, (*shown, *done), tuple(_notes(all_)))


def _notes(all_: list[Intervention]) -> list[str]:
    quiet = [f"{x.kind} on {x.task}" for x in all_ if not x.equal and x.observed.low <= 0 <= x.observed.high]
    out = [
        "Scores are over seven kinds of intervention, tried on few small tasks: a small sample, as intervals say. "
        "Those of the findings hold for all measures together, those of the table for each alone."
    ]
    if quiet:
        out.append(f"No change of speed is shown, and nothing is asked of assumptions, for: {', '.join(quiet)}.")
    out.append(
        "A constant that is the same for both optimizers says nothing of the gap between them: what assumptions on "
        "tasks foretell is asked by the claims `block-heterogeneity`, `class-imbalance` and `noise-not-main`."
    )
    out.append(
        f"Twins are those whose means are within {math.exp(SAME) - 1:.0%}. Where speeds are equal (intervals within "
        f"that), constants within {SHARE:g} of their deviation over all arms count as alike; measures that are the "
        "same for all arms are not asked."
    )
    return out


def figures(scale: str, results: Results) -> list[Any]:
    """Who said what, and the numbers."""
    all_ = found(scale, results)
    by = scores(all_)
    judgements = judged(by)
    columns = tuple(f"{x.kind}: {x.task}" for x in all_)
    values = tuple(tuple(x.score(name) for x in all_) for name in judgements)
    caption = "1: says what happened. -1: the opposite. 0: nothing. Where speeds are equal: 1 if constants are too."
    heat = Heat("Who foretells what", caption, "", "", columns, tuple(judgements), values, "score", "diverging")
    rows = [(name, len(by[name]), e.value, e.low, e.high) for name, e in judgements.items()]
    board = Table("Scores", "Means over kinds.", ("measure", "kinds", "score", "low", "high"), tuple(rows))
    told = []
    for x in all_:
        e = x.observed
        told.append((x.kind, x.task, x.unit, math.exp(e.value), math.exp(e.low), math.exp(e.high)))
    head = ("intervention", "task", "unit", "change", "low", "high")
    return [heat, board, Table("What interventions did", "With 95 % intervals.", head, tuple(told))]
