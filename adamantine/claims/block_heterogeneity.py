"""Does Adam need blocks whose curvature differs, as those of Transformers do?

Zhang et al. (arXiv:2402.16788): the spectra of the Hessian's blocks differ between the tensors of a Transformer and
hardly between those of convolutional networks, and Adam beats SGD where they differ. Their quadratics are rebuilt:
three blocks of three eigenvalues, in a random basis inside each block; the same nine eigenvalues sorted into blocks
(heterogeneous: 1 to 3, 99 to 101, 4,998 to 5,000) or dealt across them (homogeneous). Adam should beat gradient descent
on the first only. On networks, how far the spectra of tensors' blocks are apart at the start, in shape and in size, and
the heterogeneity of mean curvature stand beside the gap.
"""

import math
from typing import Any

import numpy as np

from adamantine import retest, stats
from adamantine.assume.block_spectra import BlockSpectra
from adamantine.comparison import Comparison
from adamantine.evidence import above
from adamantine.explaining.block_order import ADAM, DESCENT, LEAST, quadratics
from adamantine.explaining.intervention import gap
from adamantine.finding import Findings, Table
from adamantine.optim.lr import Lr
from adamantine.result import Results
from adamantine.run import Run


def starts(c: Comparison) -> list[Run]:
    """One step from the initial weights of every seed, with the spectra of all tensors."""
    return [Run(c.task, Lr(1e-6), 1, seed, "report", 1, 0, (BlockSpectra(),)) for seed in range(c.seeds)]


def runs(scale: str, results: Results) -> list[Run]:
    """Quadratics and networks."""
    own = [run for c in quadratics(scale) for run in c.runs(results)]
    return own + retest.runs(scale, results) + [run for c in retest.comparisons(scale) for run in starts(c)]


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    own = quadratics(scale)
    return sum(len(c.arms) * (c.tuning_seeds * len(c.arms[0].grid) + c.seeds) for c in own) + retest.expected(scale)


def _heterogeneity(c: Comparison, results: Results) -> list[float]:
    """Between tensors at the start, one a seed."""
    return retest.series(c, retest.ADAM, "block_heterogeneity", results)[1][:, 0].tolist()


def _spectra(c: Comparison, results: Results, what: str = "") -> list[float]:
    """How far the spectra of tensors are apart in shape, or by how many decades their sizes differ; one a seed."""
    return [r.last(f"block_spectra{what}") for r in map(results.get, starts(c)) if r is not None]


def _between(c: Comparison, results: Results) -> list[float]:
    """Standard deviation of the log of tensors' mean curvatures at the start, over those above zero; one a seed."""
    out = []
    for r in c.results(retest.ADAM, results):
        names = [f"block_heterogeneity/{k}" for k, _ in c.task.tags().pairs]  # pyright: ignore[reportAttributeAccessIssue]
        x = np.array([r.series(n)[1][0] for n in names if len(r.series(n)[1])])
        out.append(float(np.log(x[x > 0]).std()) if (x > 0).sum() > 1 else math.nan)
    return out


def verdict(scale: str, results: Results) -> Findings:
    """The quadratics, and the networks."""
    sorted_, dealt = quadratics(scale)
    one, other = (gap(c, ADAM, DESCENT, LEAST, results) for c in (sorted_, dealt))
    both = (*sorted_.keys(results), *dealt.keys(results))
    found = [
        above(
            "With heterogeneous blocks Adam ends lower than gradient descent",
            stats.mean(one), 0.0, "times", "quadratic", sorted_.keys(results), math.exp,
        ),
        above(
            "With homogeneous blocks Adam ends lower than gradient descent",
            stats.mean(other), 0.0, "times", "quadratic", dealt.keys(results), math.exp,
        ),
        above(
            "Adam gains more where blocks are heterogeneous",
            stats.mean([a - b for a, b in zip(one, other, strict=True)]), 0.0, "times", "quadratic", both, math.exp,
        ),
    ]  # fmt: skip
    networks = retest.comparisons(scale)
    text = networks[0]
    for c in networks[1:]:
        apart = [a - b for a, b in zip(_between(text, results), _between(c, results), strict=True)]
        statement = f"Mean curvatures of tensors differ more on {text.name} than on {c.name}"
        keys = (*text.keys(results, retest.ADAM), *c.keys(results, retest.ADAM))
        found.append(above(statement, stats.mean(apart), 0.0, "more of log curvature's deviation", c.name, keys))
        keys = tuple(results.key(r) for x in (text, c) for r in starts(x))
        for what, words, unit in (
            ("", "shape", "of Jensen-Shannon distance"),
            ("/size", "size", "decades of deviation"),
        ):
            pairs = zip(_spectra(text, results, what), _spectra(c, results, what), strict=True)
            statement = f"Spectra of tensors differ more in {words} on {text.name} than on {c.name}"
            found.append(above(statement, stats.mean([a - b for a, b in pairs]), 0.0, unit, c.name, keys))
    ratio = [f.effect for f in found[:2]]
    answer = (
        f"Gradient descent's final loss is {ratio[0]:.3g} times Adam's where blocks are heterogeneous, {ratio[1]:.3g} "
        "times where they are homogeneous."
    )
    notes = [n for c in (sorted_, dealt, *networks) for n in c.notes(results)]
    notes.append(
        "The source: spectra of blocks differ in Transformers, not in ResNets; its distances are not normalized, and "
        "have shapes and sizes in one."
    )
    return Findings(answer, tuple(found), tuple(notes))


def figures(scale: str, results: Results) -> list[Any]:
    """Quadratics and networks, in numbers."""
    rows = []
    for c in quadratics(scale):
        last = [stats.mean(np.log10(c.last(k, results)).tolist()) for k in (ADAM, DESCENT)]
        rows.append((c.name, *(c.tuned(a, results).best for a in c.arms), *(e.value for e in last)))
    nets = []
    for c in retest.comparisons(scale):
        h, d = stats.mean(_heterogeneity(c, results)), stats.mean(_between(c, results))
        shape, size = (stats.mean(_spectra(c, results, what)) for what in ("", "/size"))
        own = (shape.value, shape.low, shape.high, size.value, d.value, h.value)
        nets.append((c.name, *own, *_percent(c, results)))
    head = (
        "task", "distance of spectra", "low", "high", "sizes, decades", "deviation of log curvature", "heterogeneity",
        "SGD above AdamW, %", "low", "high",
    )  # fmt: skip
    return [
        Table(
            "Quadratics", "Logarithms to base 10 of the final losses, means over seeds.",
            ("blocks", "rate of Adam", "rate of descent", "Adam", "descent"), tuple(rows),
        ),
        Table("Networks", "At the start of training; and how much higher SGD ends.", head, tuple(nets)),
    ]  # fmt: skip


def _percent(c: Comparison, results: Results) -> tuple[float, float, float]:
    e = c.against(retest.SGD, retest.ADAM, results)
    return 100 * e.value, 100 * e.low, 100 * e.high
