"""Does Adam lose by a rotation that leaves the network's function as it is?

Turning the residual stream of a Transformer, with every matrix that reads or writes it, changes the weights and nothing
else: same function, same loss, same spectrum of the Hessian, for a network with RMS normalization whose gains stand
still. Gradient descent cannot notice. Adam can, through its coordinates; but random initial weights are distributed
alike in all of these coordinates, so that a rotation at the start must change nothing on average, unlike one of single
layers by themselves. If Adam makes coordinates of its own as it trains, then a rotation later must cost it something;
after as long a training by SGD, which makes none, nothing. Every assumption is measured in both coordinates at the same
weights: one whose constant stays does not explain what the rotation costs, and one whose constant moves the wrong way
is refuted by it. Rotations of this kind: arXiv:2404.00456; Adam's dependence on coordinates: arXiv:2410.19964. At the
switch all arms start their moments afresh, so that no second moment has to be carried across a rotation.
"""

import math
from typing import Any

import numpy as np

from adamantine import panels, stats
from adamantine.evidence import above, within
from adamantine.explaining.boards import TRIVIAL, local
from adamantine.explaining.network_turned import (
    AFRESH,
    AFTER,
    AFTER_TURNED,
    DESCENT,
    DESCENT_TURNED,
    EARLY,
    LAYERS,
    LAYERS_EARLY,
    PLAIN,
    SWITCH,
    TURNED,
    at_switch,
    changes,
    comparison,
    cost_of,
    measured,
    steps_of,
)
from adamantine.finding import Curve, Figure, Findings, Table
from adamantine.result import Results
from adamantine.run import Run
from adamantine.stats import Effect

SAME, UNCHANGED = 0.1, 1e-4  # of logs, of steps and of constants
SLOWER, FASTER, KEPT, EITHER = "says slower", "says faster", "kept by the rotation", "not told apart from staying"
SHOWN = ("MaxNormSmoothness", "OneOneNorm", "DiagonalEnergy", "SignGain", "DirectionalSmoothness", "DenseGradient")


def runs(scale: str, results: Results) -> list[Run]:
    """Tuning, reporting, and the measured ones."""
    return [*comparison(scale).runs(results), *(r for found in measured(scale, results).values() for r in found)]


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    c = comparison(scale)
    return len(c.arms) * (c.tuning_seeds * len(c.arms[0].grid) + c.seeds) + 6


def predicted(scale: str, results: Results) -> dict[str, tuple[Effect, str]]:
    """What every assumption says of the rotation, once Adam has trained: the log change and what that says."""
    said = {**{x.__name__: x.larger for x in local()}, **TRIVIAL}
    here, out = at_switch(scale, results), {}
    for key, x in changes(scale, results).items():
        if not np.isfinite(x[:, here]).all():
            continue
        e = stats.mean(x[:, here].tolist())
        worse = e if said[key] == "slower" else Effect(-e.value, -e.high, -e.low, e.n, e.level)
        if np.abs(x[:, here]).max() < UNCHANGED:
            out[key] = e, KEPT
        else:
            out[key] = e, SLOWER if worse.above(0) else FASTER if worse.below(0) else EITHER
    return out


def verdict(scale: str, results: Results) -> Findings:
    """What a rotation costs early, late and after SGD, and what the assumptions say of it."""
    c = comparison(scale)
    steps, late = "times the steps", f"after {SWITCH:.0%} of training"
    costs = {
        EARLY: cost_of(c, EARLY, PLAIN, results),
        LAYERS_EARLY: cost_of(c, LAYERS_EARLY, PLAIN, results),
        TURNED: cost_of(c, TURNED, AFRESH, results, SWITCH),
        LAYERS: cost_of(c, LAYERS, AFRESH, results, SWITCH),
        AFTER_TURNED: cost_of(c, AFTER_TURNED, AFTER, results, SWITCH),
    }

    def against(*names: str) -> tuple[str, ...]:
        return c.keys(results, *names)

    same = stats.mean(np.abs(np.array(c.last(DESCENT_TURNED, results)) - c.last(DESCENT, results)).tolist())
    found = [
        within(
            f"A network turned {late} is trained as fast by AdamW from then on",
            costs[TURNED], SAME, steps, c.name, against(TURNED, AFRESH), math.exp,
        ),
        above(
            f"A network turned {late} is trained more slowly by AdamW from then on",
            costs[TURNED], 0.0, steps, c.name, against(TURNED, AFRESH), math.exp,
        ),
        within(
            f"Where SGD has trained until then, a network turned {late} is trained as fast by AdamW",
            costs[AFTER_TURNED], SAME, steps, c.name, against(AFTER_TURNED, AFTER), math.exp,
        ),
        above(
            f"Layers turned by themselves {late} are trained more slowly by AdamW from then on",
            costs[LAYERS], 0.0, steps, c.name, against(LAYERS, AFRESH), math.exp,
        ),
        within(
            "A network turned at the start is trained as fast by AdamW",
            costs[EARLY], SAME, steps, c.name, against(EARLY, PLAIN), math.exp,
        ),
        above(
            "Layers turned by themselves at the start slow AdamW down",
            costs[LAYERS_EARLY], 0.0, steps, c.name, against(LAYERS_EARLY, PLAIN), math.exp,
        ),
        within("SGD ends where it ends without the rotation", same, 1e-2, "nats", c.name, against(DESCENT_TURNED)),
    ]  # fmt: skip
    told = predicted(scale, results)
    sides = {word: [k for k, (_, said) in told.items() if said == word] for word in (SLOWER, FASTER, KEPT, EITHER)}
    early, turned, after = (math.exp(costs[k].value) for k in (EARLY, TURNED, AFTER_TURNED))
    answer = (
        f"A rotation that keeps the network's function costs AdamW {early:.3g} times the steps at the start, "
        f"{turned:.3g} times {late}, and {after:.3g} times where SGD has trained until then. Of "
        f"{len(told)} measures {len(sides[SLOWER])} say slower, {len(sides[FASTER])} faster, {len(sides[KEPT])} are "
        f"kept by the rotation, and {len(sides[EITHER])} are not told apart from staying."
    )
    notes = [f"{word.capitalize()}: {', '.join(names)}." for word, names in sides.items() if names]
    return Findings(answer, tuple(found), (*notes, *c.notes(results)))


def figures(scale: str, results: Results) -> list[Any]:
    """Curves of all arms, constants along training under AdamW and under SGD, and both tables."""
    c, steps = comparison(scale), steps_of(scale, results)
    drawn: list[Any] = [panels.curves(c, results, (PLAIN, AFRESH, TURNED, LAYERS, AFTER, AFTER_TURNED))]
    for name in (PLAIN, DESCENT):
        own, curves = changes(scale, results, name), []
        for key in (k for k in SHOWN if np.isfinite(own[k]).all()):
            bands = [stats.mean(column.tolist()) for column in own[key].T]
            value, low, high = ([math.exp(getattr(b, part)) for b in bands] for part in ("value", "low", "high"))
            curves.append(Curve(key, steps[: len(value)].tolist(), value, low, high))
        caption = (
            "At the same weights and batches; means over three seeds with 95 % intervals. 1: a rotation does nothing."
        )
        title = f"Constants of the turned network over those of the network as it is, along {name}"
        drawn.append(Figure(title, caption, "step", "ratio", tuple(curves), y_scale="log"))
    rows = [
        (key, math.exp(e.value), math.exp(e.low), math.exp(e.high), said)
        for key, (e, said) in sorted(predicted(scale, results).items(), key=lambda pair: -abs(pair[1][0].value))
    ]
    head = ("measure", "turned over as it is", "low", "high", "says of AdamW")
    caption = f"After {SWITCH:.0%} of AdamW's training; means over three seeds with 95 % intervals."
    drawn.append(Table("What every assumption says of the rotation", caption, head, tuple(rows)))
    ends = [(a.name, c.tuned(a, results).best, stats.mean(c.last(a.name, results))) for a in c.arms]
    arms = tuple((name, best, e.value, e.low, e.high) for name, best, e in ends)
    drawn.append(Table("Arms", "Held-out loss at the end.", ("arm", "rate", "nats", "low", "high"), arms))
    return drawn
