"""Is it the rare classes that SGD leaves behind, and Adam not?

Kunstner et al. (arXiv:2402.19449): with heavy-tailed classes, such as words, gradient and curvature of a class both
scale with its frequency, so that gradient descent is slow on rare classes, which have most of the loss; Adam and sign
descent divide the frequency out. Tested on the source's logistic regression with and without the imbalance, all
examples at once, replicated over data; and on language, where the loss is told by the frequency of the token.
"""

from typing import Any

import numpy as np

from adamantine import retest, stats
from adamantine.comparison import Comparison
from adamantine.evidence import above
from adamantine.explaining.class_balance import ADAM, SGD, SIGN, replicates
from adamantine.finding import Curve, Figure, Findings, Table
from adamantine.result import Results
from adamantine.run import Run

GROUPS = 4  # of the probe `FrequencyLoss` in the runs on language


def _language(scale: str) -> Comparison:
    return retest.comparisons(scale)[0]


def runs(scale: str, results: Results) -> list[Run]:
    """Both regressions, and those on language."""
    own = [run for b in (False, True) for c in replicates(scale, b) for run in c.runs(results)]
    return own + _language(scale).runs(results)


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    one = len(runs_of(scale)) * 3 * 4
    return one + len(_language(scale).arms) * 12


def runs_of(scale: str) -> list[Comparison]:
    """All replicates of both regressions."""
    return [*replicates(scale, False), *replicates(scale, True)]


def _gap(c: Comparison, other: str, results: Results) -> float:
    """SGD's final loss less the other's."""
    return c.last(SGD, results)[0] - c.last(other, results)[0]


def _behind(c: Comparison, arm: str, results: Results) -> float:
    """The loss of the rarest group of classes less that of the most frequent."""
    groups = c.task.groups  # pyright: ignore[reportAttributeAccessIssue]
    rare, frequent = (c.last(arm, results, f"group{i}")[0] for i in (groups - 1, 0))
    return rare - frequent


def _tokens(scale: str, results: Results, group: int) -> list[float]:
    """SGD's loss on a group of tokens less AdamW's, at the end of training on language."""
    c = _language(scale)
    arms = (retest.SGD, retest.ADAM)
    ends = [retest.series(c, k, f"frequency_loss/{group}", results)[1][:, -1].tolist() for k in arms]
    return [a - b for a, b in zip(*ends, strict=True)]


def verdict(scale: str, results: Results) -> Findings:
    """The gap with and without the imbalance, who is behind on rare classes, and the same of tokens."""
    heavy, even, text = replicates(scale, False), replicates(scale, True), _language(scale)
    keys = tuple(k for c in (*heavy, *even) for k in c.keys(results))
    gaps = [[_gap(c, ADAM, results) for c in own] for own in (heavy, even)]
    signs = [_gap(c, SIGN, results) for c in heavy]
    behind = [_behind(c, SGD, results) - _behind(c, ADAM, results) for c in heavy]
    tokens = [a - b for a, b in zip(_tokens(scale, results, GROUPS - 1), _tokens(scale, results, 0), strict=True)]
    name, unit = "logistic regression", "nats"
    found = (
        above("With heavy tails SGD ends higher than Adam", stats.mean(gaps[0]), 0.0, unit, name, keys),
        above(
            "The gap is larger with heavy-tailed classes than with balanced ones",
            stats.mean([a - b for a, b in zip(*gaps, strict=True)]), 0.0, unit, name, keys,
        ),
        above("Signs with momentum end lower than SGD too", stats.mean(signs), 0.0, unit, name, keys),
        above(
            "SGD is further behind on the rarest classes, against the most frequent, than Adam",
            stats.mean(behind), 0.0, unit, name, keys,
        ),
        above(
            "SGD is further behind AdamW on rare tokens than on frequent ones",
            stats.mean(tokens), 0.0, "nats", text.name, text.keys(results, retest.SGD, retest.ADAM),
        ),
    )  # fmt: skip
    first, second = found[0], found[1]
    answer = (
        f"With heavy-tailed classes SGD ends {first.effect:.3g} nats above Adam, {second.effect:.3g} more than "
        f"with balanced ones; on language it is {found[-1].effect:.3g} nats further behind on rare tokens."
    )
    notes = [*text.notes(results), "The source: the same, on the same regression, and on language models."]
    edge = {a.name for c in (*heavy, *even) for a in c.arms if c.tuned(a, results).at_edge}
    if edge:
        notes.append(f"logistic regression: the best rate of {', '.join(sorted(edge))} lies at the edge of its grid.")
    return Findings(answer, found, tuple(notes))


def figures(scale: str, results: Results) -> list[Any]:
    """Loss by frequency: of classes at the end, of tokens over training."""
    drawn: list[Any] = []
    for balanced in (False, True):
        own = replicates(scale, balanced)
        groups, curves = list(range(own[0].task.groups)), []  # pyright: ignore[reportAttributeAccessIssue]
        for arm in (SGD, ADAM, SIGN):
            bands = [stats.mean([c.last(arm, results, f"group{i}")[0] for c in own]) for i in groups]
            y, low, high = ([getattr(e, part) for e in bands] for part in ("value", "low", "high"))
            curves.append(Curve(arm, [f"{2**i} classes" for i in groups], y, low, high, style="bar"))
        caption = f"Groups from the most frequent class to the rarest ones; means over {len(own)} draws of the data."
        drawn.append(Figure(f"Loss by class, {own[0].name}", caption, "", "nats", tuple(curves), x_scale="category"))
    c, curves, rows = _language(scale), [], []
    for arm in (retest.SGD, retest.ADAM):
        for group in range(GROUPS):
            steps, x = retest.series(c, arm, f"frequency_loss/{group}", results)
            y, style = np.mean(x, 0).tolist(), "dash" if arm == retest.SGD else "line"
            curves.append(Curve(f"{arm}: {_word(group)}", steps.tolist(), y, group=_word(group), style=style))
            rows.append((arm, _word(group), float(x[:, -1].mean())))
    caption = f"Tokens in four groups with as many occurrences each; mean over {c.seeds} seeds at tuned rates."
    drawn.append(Figure("Loss by frequency of the token", caption, "step", "nats", tuple(curves)))
    head = ("optimizer", "tokens", "loss at the end")
    return [*drawn, Table("Tokens by frequency", "Means over seeds.", head, tuple(rows))]


def _word(group: int) -> str:
    return ("most frequent", "frequent", "rare", "rarest")[group]
