"""How tight are theorems on optimizers, with constants measured along the run, and whose order of optimizers is right?

A theorem bounds what an optimizer does by constants: smoothness in its norm, the gap to the least loss, the rate. Here
the constants are measured along the very runs that the bounds speak of, on fixed sets of examples seen all at once, so
that no noise excuses a gap: a quadratic, heavy-tailed logistic regression, a perceptron on digits and a small
Transformer; the last two also with one batch of their examples a step, for the theorems with noise, whose constants are
then exact too. Each bound is held against what happened at the best rate of a grid: how many times looser it is, when
the constant of the start no longer serves, and when the theorem stops to allow the rate, if it does at all. Descent in
four norms (Euclidean, by tensors, maximum, spectral: the ideas of gradient descent, Adalayer, sign descent and Muon) is
ordered by the decrease that its theorem guarantees a step, `|g|*^2 / 2 C`, and by what it reached.
Sources: the docstrings of `adamantine.guarantees`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from adamantine import stats
from adamantine.assume.blockwise_smoothness import BlockwiseSmoothness
from adamantine.assume.max_norm_smoothness import MaxNormSmoothness
from adamantine.assume.smoothness import Smoothness
from adamantine.assume.spectral_smoothness import SpectralSmoothness
from adamantine.comparison import Arm, Comparison
from adamantine.data.digits import Digits
from adamantine.evidence import above
from adamantine.finding import Curve, Figure, Finding, Findings, Table
from adamantine.guarantees.adagrad_norm import AdagradNorm as AdagradNormDescent
from adamantine.guarantees.adam import AdamWithoutMomentum
from adamantine.guarantees.adam_momentum import AdamWithMomentum
from adamantine.guarantees.gradient_descent import GradientDescent
from adamantine.guarantees.noiseless_adam import NoiselessAdam
from adamantine.guarantees.noisy_descent import NoisyDescent
from adamantine.guarantees.noisy_sign_descent import NoisySignDescent
from adamantine.guarantees.normalized_descent import NormalizedDescent
from adamantine.guarantees.polyak_lojasiewicz_descent import PolyakLojasiewiczDescent
from adamantine.guarantees.sign_descent import SignDescent
from adamantine.guarantees.spectral_descent import SpectralDescent
from adamantine.guarantees.strong_growth_descent import StrongGrowthDescent
from adamantine.nets.decoder import Decoder
from adamantine.nets.mlp import Mlp
from adamantine.optim.adagrad_norm import AdagradNorm
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.optim.steepest import Norm, Steepest
from adamantine.part import Part
from adamantine.probes.gradient_norms import GradientNorms
from adamantine.result import Results
from adamantine.run import Run
from adamantine.tasks.fixed import Fixed
from adamantine.tasks.images import Images
from adamantine.tasks.language import Language
from adamantine.tasks.logistic import HeavyTailedLogistic
from adamantine.tasks.quadratic import Quadratic, power_law
from adamantine.tightness import (
    BETA1,
    BETA2,
    EPS,
    FIRST,
    NORMS,
    Theorem,
    looseness,
    noisy,
    outgrown,
    paths,
    silent,
)
from adamantine.whole import OnAll

LOOSE = 10.0
DESCENT, ADAM, MOMENTUM, ADAGRAD = "gradient descent", "Adam without momentum", "Adam", "AdaGrad-norm"


def _descent(rate: float, seed: int) -> Part:
    return Lr(rate)


def _adam(rate: float, seed: int) -> Part:
    return Rms(BETA2, EPS) >> Lr(rate)


def _momentum(rate: float, seed: int) -> Part:
    return Ema(BETA1, debias=False) >> Rms(BETA2, EPS) >> Lr(rate)


def _adagrad(rate: float, seed: int) -> Part:
    return AdagradNorm(FIRST) >> Lr(rate)


def _steepest(norm: Norm, rate: float, seed: int) -> Part:
    return Steepest(norm) >> Lr(rate)


THEOREMS = (
    Theorem("gradient descent", DESCENT, GradientDescent(), "smoothness"),
    Theorem("gradient descent, Polyak-Lojasiewicz", DESCENT, PolyakLojasiewiczDescent(), "smoothness"),
    Theorem("normalized descent", NORMS["euclidean"][0], NormalizedDescent(), "smoothness"),
    Theorem("sign descent", NORMS["maximum"][0], SignDescent(), "max_norm_smoothness"),
    Theorem("spectral descent", NORMS["spectral"][0], SpectralDescent(), "spectral_smoothness"),
    Theorem("Adam", ADAM, NoiselessAdam(), "smoothness"),
    Theorem("Adam with noise", ADAM, AdamWithoutMomentum(), "smoothness"),
    Theorem("Adam with momentum and noise", MOMENTUM, AdamWithMomentum(), "smoothness"),
    Theorem("AdaGrad-norm", ADAGRAD, AdagradNormDescent(), "smoothness"),
)
# Where a step sees one of the batches only.
NOISY = (
    Theorem("SGD, bounded variance", DESCENT, NoisyDescent(), "smoothness"),
    Theorem("SGD, strong growth", DESCENT, StrongGrowthDescent(), "smoothness"),
    Theorem("sign descent with noise", NORMS["maximum"][0], NoisySignDescent(), "max_norm_smoothness"),
    Theorem("Adam with noise", ADAM, AdamWithoutMomentum(), "smoothness"),
    Theorem("Adam with momentum and noise", MOMENTUM, AdamWithMomentum(), "smoothness"),
)


def theorems(group: tuple[Comparison, ...]) -> tuple[Theorem, ...]:
    """Those that speak of runs with, or of runs without noise."""
    return NOISY if noisy(group[0]) else THEOREMS


def groups(scale: str) -> dict[str, tuple[Comparison, ...]]:
    """The tasks of this scale with all arms; several data sets where seeds of one would only repeat a run."""
    text = Language(model=Decoder(context=16, width=16, depth=1, heads=2), batch=8, limit=200_000, held_out=16)
    setting: dict[str, Any]
    steps, setting = 200, {"seeds": 4, "tuning_seeds": 1, "widen": 3}
    if scale == "tiny":
        steps, setting = 24, {"seeds": 3, "tuning_seeds": 1, "widen": 0}
    elif scale != "laptop":
        text = Language(model=Decoder(context=128, width=128, depth=4), batch=32)
        steps, setting = 2000, {"seeds": 8, "tuning_seeds": 2, "widen": 4}
    size = 3 if scale == "tiny" else 4
    named: dict[str, list[Any]] = {
        "quadratic": [Quadratic(power_law(40), "random", matrix=(5, 8))],
        "logistic regression": [HeavyTailedLogistic(size, data_seed=i) for i in range(setting["seeds"])],
        "perceptron": [Fixed(Images(Digits(), Mlp(64, 10, 16, 1), 64), 8 if scale != "tiny" else 2)],
    }
    if scale != "tiny":
        named["Transformer"] = [Fixed(text, 8 if scale == "laptop" else 16)]
    for k in [k for k in ("perceptron", "Transformer") if k in named]:
        named[f"{k}, in batches"] = [replace(named[k][0], at_once=1)]
    # From zero, on fixed examples: nothing is drawn. Its least loss lies at infinity: a wider grid ends at rounding.
    alone: dict[str, Any] = {"seeds": 1, "tuning_seeds": 1, "widen": 0}

    def made(name: str, tasks: list[Any]) -> tuple[Comparison, ...]:
        several, metric = len(tasks) > 1, "training" if isinstance(tasks[0], Fixed) else "held_out"
        names = [f"{name}, data {i}" for i in range(len(tasks))] if several else [name]
        own = {"metric": metric, "every": max(1, steps // 16), **(alone if several else setting)}
        arms = _arms(scale, getattr(tasks[0], "at_once", 0) > 0)
        return tuple(Comparison(k, t, arms, steps, **own) for k, t in zip(names, tasks, strict=True))

    return {name: made(name, tasks) for name, tasks in named.items()}


def _arms(scale: str, in_batches: bool) -> tuple[Arm, ...]:
    few = scale == "tiny"
    sweeps = {"starts": 2, "sweeps": 3 if few else 6}
    probes = (
        GradientNorms(), Smoothness(8 if few else 16), MaxNormSmoothness(**sweeps), BlockwiseSmoothness(**sweeps),
        SpectralSmoothness(**sweeps),
    )  # fmt: skip

    def grid(centre: float) -> tuple[float, ...]:
        n = 3 if few else 5
        return tuple(float(f"{centre * 4.0 ** (i - n // 2):.4g}") for i in range(n))

    if in_batches:
        probes = tuple(OnAll(x) for x in probes)
    centres: dict[Norm, float] = {"euclidean": 0.1, "blocks": 4e-3, "maximum": 4e-3, "spectral": 0.04}
    every = (
        Arm(DESCENT, _descent, grid(1.0), probes),
        *(Arm(NORMS[k][0], partial(_steepest, k), grid(x), probes) for k, x in centres.items()),
        Arm(ADAM, _adam, grid(1e-2), probes),
        Arm(MOMENTUM, _momentum, grid(1e-2), probes),
        Arm(ADAGRAD, _adagrad, grid(0.4), probes),
    )
    return tuple(a for a in every if not in_batches or a.name in {t.arm for t in NOISY})


def runs(scale: str, results: Results) -> list[Run]:
    """Tuning and reporting of every arm, and the reporting runs again for what is measured at every step."""
    cs = [c for group in groups(scale).values() for c in group]
    return [run for c in cs for run in (*c.runs(results), *(x for a in c.arms for x in paths(c, a, results)))]


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    cs = [c for group in groups(scale).values() for c in group]
    return sum(len(c.arms) * (c.tuning_seeds * len(c.arms[0].grid) + 2 * c.seeds) for c in cs)


def guaranteed(c: Comparison, norm: Norm, results: Results) -> list[float]:
    """The mean over a gradient-descent run of the decrease that a step of this norm's descent guarantees."""
    _, constant, dual = NORMS[norm]
    out = []
    for r in c.results(DESCENT, results):
        x, g = r.series(constant)[1], r.series(dual)[1]
        out.append(float(np.mean(np.divide(g**2, 2 * x, out=np.zeros_like(x), where=x > 0))))
    return out


def _order(c: Comparison, results: Results) -> list[float]:
    ahead = np.array([guaranteed(c, k, results) for k in NORMS])
    reached = np.array([c.last(NORMS[k][0], results) for k in NORMS])
    return [stats.kendall((-ahead[:, i]).tolist(), reached[:, i].tolist())[0] for i in range(c.seeds)]


def verdict(scale: str, results: Results) -> Findings:
    """How loose every bound is, and whether the guaranteed decreases order the descents."""
    loose, orders, notes = [], [], []
    for name, group in groups(scale).items():
        for t in theorems(group):
            statement = f"The bound of {t.name} exceeds what happened by more than a factor of {LOOSE:g}"
            effect = _over(group, lambda c, t=t: looseness(c, t, results))
            if effect.value < -1e-6:
                notes.append(f"{name}: the bound of {t.name} lies below what happened: its constants are too small.")
            keys = tuple(k for c in group for k in c.keys(results, t.arm))
            loose.append(above(statement, effect, math.log(LOOSE), "times", name, keys, _times))
        notes += [note for c in group for note in c.notes(results)]
        if noisy(group[0]):
            continue
        statement = "The decrease that theorems guarantee orders descent in four norms as they end"
        keys = tuple(k for c in group for k in c.keys(results))
        effect = _within_one([x for c in group for x in _order(c, results)])
        orders.append(above(statement, effect, 0.0, "Kendall's tau", name, keys))
    notes += [
        "Smoothness is the largest at the measured points (every step, or 17 of them) along each run, and from below "
        "(Ritz values, power iteration): true bounds are looser still. The least loss is taken to be zero.",
        "An infinite factor says that in at least one run the theorem allows no rate as large as the best one.",
        "Four descents have 24 orders: the right one comes up by chance once in 24, so that an order on one task is "
        "weak evidence, however well its seeds agree.",
        "Logistic regression starts from zero on fixed examples: its replicates are data sets, each with own rates of "
        "a grid that is not widened.",
    ]
    said = [*dict.fromkeys(f.statement for f in loose)]
    loose.sort(key=lambda f: said.index(f.statement))  # the same of several tasks side by side
    return Findings(_answer(loose, orders), (*loose, *orders), tuple(notes))


def _over(group: tuple[Comparison, ...], values: Callable[[Comparison], list[float]]) -> stats.Effect:
    return stats.mean([x for c in group for x in values(c)])


def _within_one(taus: list[float]) -> stats.Effect:
    """Student's interval knows no ends; tau does."""
    e = stats.mean(taus)
    return stats.Effect(e.value, max(e.low, -1.0), min(e.high, 1.0), e.n, e.level)


def _times(x: float) -> float:
    return math.exp(min(x, 700.0)) if x < math.inf else math.inf


def _answer(loose: list[Finding], orders: list[Finding]) -> str:
    told = [f for f in loose if math.isfinite(f.effect)]
    unbounded = len(loose) - len(told)
    if not told:
        return "No theorem allows the rates that work best."
    least, most = (pick(told, key=lambda f: f.effect) for pick in (min, max))
    right = [f.task for f in orders if f.verdict == "supported"]
    span = f"{least.effect:.3g} ({least.task}) to {most.effect:.3g} ({most.task})"
    first = f"Bounds exceed what happened by factors from {span}"
    ordered = f"the guaranteed decreases order the descents right on {', '.join(right)}"
    order = ordered if right else "no order is shown right"
    return f"{first}; {unbounded} of {len(loose)} are infinite in a run at least; {order}."


def figures(scale: str, results: Results) -> list[Any]:
    """Tightness, constants over training, and the two orders."""
    rows, orders, curves = [], [], []
    for name, group in groups(scale).items():
        c = group[0]
        for t in theorems(group):
            e = _over(group, lambda c, t=t: looseness(c, t, results))
            doubled = _over(group, lambda c, t=t: outgrown(c, t, results)).value
            until = _over(group, lambda c, t=t: silent(c, t, results)).value
            factors = (_times(x) for x in (e.value, e.low, e.high))
            rows.append((name, t.name, _rate(group, t.arm, results), *factors, doubled, until))
        for k, (arm, _, _) in () if noisy(c) else NORMS.items():
            ahead = _over(group, lambda c, k=k: guaranteed(c, k, results)).value
            last = _over(group, lambda c, arm=arm: c.last(arm, results)).value
            orders.append((name, arm, _rate(group, arm, results), ahead, last))
        r = c.results(DESCENT, results)[0]
        for _, constant, _ in NORMS.values():
            steps, x = r.series(constant)
            curves.append(Curve(f"{name}: {constant}", steps.tolist(), (x / x[0]).tolist(), group=constant))
    tight = Table(
        "Tightness",
        "The bound over what it bounds, at the best rate of the arm, with 95 % intervals over seeds; and the shares of "
        "training after which the constant is twice that of the start, and the theorem allows no such rate (1: never).",
        ("task", "theorem", "rate", "times looser", "low", "high", "constant doubles", "says nothing"),
        tuple(rows),
    )
    order = Table(
        "Guaranteed and reached",
        "The decrease a step that each theorem guarantees along gradient descent's path, and the loss reached.",
        ("task", "descent", "rate", "guaranteed a step", "final loss"),
        tuple(orders),
    )
    caption = "Along one run of gradient descent at its best rate, over the value at the start."
    drawn = Figure("Constants along training", caption, "step", "times the start", tuple(curves), y_scale="log")
    return [tight, order, drawn]


def _rate(group: tuple[Comparison, ...], arm: str, results: Results) -> float:
    return float(np.median([c.tuned(c.arm(arm), results).best or math.nan for c in group]))
