"""Does training on a task that keeps changing cost a network its ability to learn, and what keeps it?

Networks trained for long on objectives that change are said to lose plasticity: what comes late is learnt worse than a
fresh network would learn it (Dohare et al., arXiv:2306.13812; Lyle et al., arXiv:2303.01486). Digits are relabelled
again and again, so that nothing learnt before helps; accuracy is counted before each batch is trained on. The loss of
plasticity of a run is its accuracy over the first periods, with a network that is still fresh, less that over the last
ones. Each remedy is tuned on the same rates and seeds as Adam. A run whose labels never change is the control: there
accuracy must rise. Adam again, and the plainest remedies, learn to balance poles whose length changes, so that the
question is asked of reinforcement learning too. Dormant units and the rank of features stand beside the accuracies.
"""

import math
from functools import partial
from typing import Any

import numpy as np

from adamantine import scoreboard, stats
from adamantine.comparison import Arm
from adamantine.contest import Contest, Event
from adamantine.control.cart_pole import CartPole
from adamantine.control.drifting import Drifting
from adamantine.evidence import above
from adamantine.finding import SUPPORTED, Curve, Figure, Finding, Findings, Table
from adamantine.optim.adam import adam, adamw
from adamantine.optim.clip import Clip
from adamantine.optim.continual_backprop import Continual
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.recycled import Recycled
from adamantine.optim.reset import adam_reset
from adamantine.optim.second_moment import Rms
from adamantine.optim.shrink_perturb import ShrinkPerturb
from adamantine.optim.toward_start import TowardStart
from adamantine.optim.utility import adaptive_upgd
from adamantine.part import Part
from adamantine.profiling.observer import Observer
from adamantine.result import Result, Results
from adamantine.run import Run
from adamantine.stats import Effect
from adamantine.tasks.ppo import PPO
from adamantine.tasks.relabelled import Relabelled

ADAM = "Adam"


def _adam(rate: float, seed: int) -> Part:
    return adam(rate)


def _equal(rate: float, seed: int) -> Part:
    return adam(rate, 0.99, 0.99)


def _decayed(rate: float, seed: int) -> Part:
    return adamw(rate, decay=0.1)


def _toward_start(rate: float, seed: int) -> Part:
    return Ema() >> Rms() >> TowardStart(0.1) >> Lr(rate)


def _shrunk(rate: float, seed: int) -> Part:
    return adam(rate) >> ShrinkPerturb(0.5, 0.5)


def _recycled(rate: float, seed: int) -> Part:
    return Recycled(adam(rate), 150, 0.05)  # not the period of relabelling


def _continual(rate: float, seed: int) -> Part:
    return Continual(adam(rate), 1e-3, 100)


def _utility(rate: float, seed: int) -> Part:
    return adaptive_upgd(rate, sigma=1e-2, decay=0.01)


def _reset(rate: float, seed: int) -> Part:
    return adam_reset(rate)


REMEDIES = {
    "equal betas": _equal,
    "decay": _decayed,
    "decay to the start": _toward_start,
    "shrink and perturb": _shrunk,
    "ReDo": _recycled,
    "continual backprop": _continual,
    "UPGD": _utility,
    "reset": _reset,
}


def _clipped(make: Any, rate: float, seed: int) -> Part:
    return Clip(0.5, make(rate, seed))


def contests(scale: str) -> tuple[Contest, Contest, Contest]:
    """Relabelled digits with all remedies, digits that stay, and poles whose length changes."""
    setting: dict[str, Any] = {"seeds": 8, "tuning_seeds": 2, "widen": 1}
    rates, periods, period, rollouts, often = (3e-4, 1e-3, 3e-3, 1e-2), 40, 200, 200, 2_500
    if scale == "tiny":
        setting = {"seeds": 3, "tuning_seeds": 1, "widen": 0}
        rates, periods, period, rollouts, often = (1e-3, 3e-3, 1e-2), 4, 40, 6, 48
    elif scale == "gpu":
        setting, periods, rollouts, often = {"seeds": 32, "tuning_seeds": 4}, 400, 4000, 50_000
    seen = (Observer(),)
    arms = [Arm(k, f, rates, seen) for k, f in {ADAM: _adam, **REMEDIES}.items()]
    steps = periods * period
    relabelled = Event("relabelled digits", Relabelled(period=period), steps, 0.0, 1.0, "accuracy")
    still = Event("digits that stay", Relabelled(period=0), steps, 0.0, 1.0, "accuracy")
    pole = PPO(Drifting(CartPole(), "length", 0.25, 1.5, often))
    if scale == "tiny":
        pole = PPO(pole.world, 2, 32)
    poles = Event("poles of changing length", pole, rollouts * pole.period, 20.0, 500.0)
    plain = {ADAM: _adam, **{k: REMEDIES[k] for k in ("equal betas", "decay", "reset")}}
    control = [Arm(k, partial(_clipped, f), rates) for k, f in plain.items()]
    return (
        Contest((relabelled,), tuple(arms), **setting),
        Contest((still,), tuple(arms[:1]), **setting),
        Contest((poles,), tuple(control), **setting),
    )


def runs(scale: str, results: Results) -> list[Run]:
    """Tuning and reporting of every arm."""
    return [run for c in contests(scale) for run in c.runs(results)]


def expected(scale: str) -> int:
    """How many runs there are, if no grid is widened."""
    return sum(c.expected for c in contests(scale))


def early_and_late(c: Contest, name: str, results: Results) -> np.ndarray:
    """Mean metric over the first and the last eighth of training, `[seeds, 2]`; 0 for a run that diverged."""
    event = c.events[0]
    out = []
    for r in c.results(event, c.arm(name), results):
        steps, x = r.series(event.metric)
        whole = len(x) > 1 and r.status == "done"
        parts = (x[steps < event.steps / 8], x[steps >= event.steps * 7 / 8]) if whole else ((0.0,), (0.0,))
        out.append([float(np.mean(p)) if len(p) else math.nan for p in parts])
    return np.array(out)


def _lost(c: Contest, name: str, results: Results) -> Effect:
    x = early_and_late(c, name, results)
    return stats.mean((x[:, 0] - x[:, 1]).tolist())


def verdict(scale: str, results: Results) -> Findings:
    """What Adam loses, what each remedy keeps, the control, and the same of poles."""
    digits, still, poles = contests(scale)
    keys = digits.keys(results, ADAM)
    first = "Adam learns late relabellings worse than the first ones"
    chief = above(first, _lost(digits, ADAM, results), 0.0, "of accuracy lost", "relabelled digits", keys)
    kept = [_late(digits, name, results) for name in REMEDIES]
    stays = above(
        "Where labels stay, accuracy falls in the end", _lost(still, ADAM, results), 0.0, "of accuracy lost",
        "digits that stay", still.keys(results),
    )  # fmt: skip
    others = [_late(poles, a.name, results) for a in poles.arms if a.name != ADAM]
    notes = [n for c in (digits, still, poles) for n in c.notes(results)]
    return Findings(_answer(chief, kept), (chief, *kept, stays, *others), tuple(notes))


def _late(c: Contest, name: str, results: Results) -> Finding:
    """Late in training, against Adam, paired by seed, corrected for how many are compared."""
    own, adam_ = (early_and_late(c, n, results)[:, 1] for n in (name, ADAM))
    effect = stats.mean((own - adam_).tolist(), 1 - 0.05 / (len(c.arms) - 1))
    event = c.events[0]
    statement = f"Late in training, {name} does better than Adam, both tuned"
    return above(statement, effect, 0.0, f"more {event.metric}", event.name, c.keys(results, name, ADAM))


def _answer(chief: Finding, kept: list[Finding]) -> str:
    low, high = chief.interval
    lost = f"{100 * chief.effect:.1f} points of accuracy ({100 * low:.1f} to {100 * high:.1f})"
    better = [name for name, f in zip(REMEDIES, kept, strict=True) if f.verdict == SUPPORTED]
    best = max(zip(REMEDIES, kept, strict=True), key=lambda pair: pair[1].effect)
    does = "loses" if chief.verdict == SUPPORTED else "cannot be said to lose"
    most = f"the largest difference is {best[0]}'s, {100 * best[1].effect:+.1f} points"
    remedy = f"{', '.join(better)} does better late" if better else "no remedy was found to do better late"
    return f"From first to last, Adam {does} {lost} on relabelled digits; {remedy}: {most}."


def figures(scale: str, results: Results) -> list[Any]:
    """Accuracy over time, early against late, what goes with it, and poles."""
    digits, still, poles = contests(scale)
    event = digits.events[0]
    names = [a.name for a in digits.arms]
    drawn = []
    for title, column in (("first eighth", 0), ("last eighth", 1)):
        bands = [stats.mean(early_and_late(digits, n, results)[:, column].tolist()) for n in names]
        y, low, high = ([getattr(b, part) for b in bands] for part in ("value", "low", "high"))
        drawn.append(Curve(title, names, y, low, high, style="bar"))
    caption = f"Accuracy before each batch is trained on; mean over {digits.seeds} reporting seeds, 95 % intervals."
    keys = digits.keys(results)
    bars = Figure("Early and late", caption, "", "accuracy", tuple(drawn), x_scale="category", keys=keys)
    rows = []
    for name in names:
        found = digits.results(event, digits.arm(name), results)
        x = early_and_late(digits, name, results)
        rate = digits.tuned(event, digits.arm(name), results).best
        rows.append((name, rate, *x.mean(0).tolist(), *(_at_end(found, row) for row in ("dormant", "rank", "norm"))))
    head = ("arm", "rate", "early", "late", "dormant units", "rank of features", "growth of weights")
    told = "Means over seeds; dormant units, rank (99 % of singular values, over the width) and norms at the end."
    chosen = [scoreboard.curves(c, c.events[0], results) for c in (still, poles)]
    return [bars, _accuracies(digits, results), Table("Every arm", told, head, tuple(rows), keys=keys), *chosen]


def _accuracies(c: Contest, results: Results) -> Figure:
    """Mean accuracy of each of sixteen stretches of training."""
    event, drawn = c.events[0], []
    for arm in c.arms:
        found = [r.series(event.metric) for r in c.results(event, arm, results)]
        y = []
        for k in range(16):
            inside = [x[(steps >= event.steps * k / 16) & (steps < event.steps * (k + 1) / 16)] for steps, x in found]
            y.append(float(np.mean([np.mean(x) for x in inside if len(x)])) if any(map(len, inside)) else math.nan)
        drawn.append(Curve(arm.name, [event.steps * (k + 0.5) / 16 for k in range(16)], y, group=arm.name))
    title, caption = "Accuracy while labels change", "Mean over reporting seeds in each sixteenth of training."
    return Figure(title, caption, "step", "accuracy", tuple(drawn), keys=c.keys(results))


def _at_end(found: list[Result], name: str) -> float:
    last = [r.series(f"all/{name}")[1] for r in found]
    return float(np.mean([x[-1] for x in last if len(x)])) if any(len(x) for x in last) else math.nan
