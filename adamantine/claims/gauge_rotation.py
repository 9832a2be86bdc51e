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

import dataclasses
import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from adamantine import panels, stats
from adamantine.comparison import Arm, Comparison
from adamantine.evidence import above, within
from adamantine.explaining.boards import TRIVIAL, local
from adamantine.explaining.shared import Shared
from adamantine.finding import Curve, Figure, Findings, Table
from adamantine.nets.decoder import Decoder
from adamantine.optim.adam import adamw
from adamantine.optim.basis import Identity, InBasis
from adamantine.optim.clip import Clip
from adamantine.optim.hadamard import Hadamard
from adamantine.optim.lr import Lr
from adamantine.optim.residual_rotation import ResidualRotation
from adamantine.optim.schedule import Cosine
from adamantine.optim.sgd import sgd
from adamantine.part import Part
from adamantine.result import Result, Results
from adamantine.role import Is
from adamantine.route import Route
from adamantine.run import Run
from adamantine.stats import Effect
from adamantine.tasks.language import Language
from adamantine.until import Until

SWITCH, LATE = 1 / 3, 0.8  # of training: when networks are turned, and where the loss that arms are timed to is read
SAME = 0.1  # of the log of steps
PLAIN, AFRESH, TURNED = "AdamW", "AdamW, moments afresh", "AdamW, network turned"
EARLY, LAYERS, LAYERS_EARLY = "AdamW, network turned at the start", "AdamW, layers turned", "AdamW, layers at the start"
AFTER, AFTER_TURNED = "SGD, then AdamW", "SGD, then AdamW, network turned"
DESCENT, DESCENT_TURNED = "SGD", "SGD, network turned"
SHOWN = ("MaxNormSmoothness", "OneOneNorm", "DiagonalEnergy", "SignGain", "DirectionalSmoothness", "DenseGradient")


def _still(part: Part) -> Part:
    """The gains of normalization stand still, or the rotation would change the function that can be reached."""
    return Route(Is("norm"), Lr(0.0), part)


def _network(seed: int) -> Any:
    return ResidualRotation(seed)


def _layers(seed: int) -> Any:
    return Hadamard("layer", seed=seed)


def _as_is(seed: int) -> Any:
    return Identity()


def _adam(rate: float) -> Part:
    return Clip(1.0, _still(adamw(rate, 0.9, 0.95, decay=0.1, schedule=Cosine(0.1))))


def _sgd(rate: float) -> Part:
    return Clip(1.0, _still(sgd(rate, 0.9, decay=1e-4, schedule=Cosine(0.1))))


def _plain(rate: float, seed: int) -> Part:
    return _adam(rate)


def _start(basis: Callable[[int], Any], rate: float, seed: int) -> Part:
    return InBasis(_adam(rate), basis(seed))


def _later(basis: Callable[[int], Any], rate: float, seed: int) -> Part:
    return Until(SWITCH, _adam(rate), InBasis(_adam(rate), basis(seed)), carry=False)


def _after(basis: Callable[[int], Any], rate: float, seed: int) -> Part:
    """SGD at twenty times the rate: about the ratio of the two when both are tuned."""
    return Until(SWITCH, _sgd(20 * rate), InBasis(_adam(rate), basis(seed)), carry=False)


def _descent(basis: Callable[[int], Any], rate: float, seed: int) -> Part:
    return InBasis(_sgd(rate), basis(seed))


@cache
def comparison(scale: str) -> Comparison:
    """All arms on language."""
    if scale == "tiny":
        net, steps = Decoder(context=16, width=16, depth=1, heads=2, norm="rms"), 12
        task = Language(model=net, batch=8, limit=200_000, held_out=16)
        setting: dict[str, Any] = {"seeds": 3, "tuning_seeds": 1, "widen": 0}
    elif scale == "laptop":
        task, steps = Language(model=Decoder(context=32, width=32, depth=2, norm="rms"), batch=32), 600
        setting = {"seeds": 8, "tuning_seeds": 2, "widen": 2}
    else:
        net, steps = Decoder(context=128, width=256, depth=6, heads=8, norm="rms"), 6000
        task = Language(model=net, batch=64, limit=20_000_000, held_out=512)
        setting = {"seeds": 6, "tuning_seeds": 2, "widen": 3}
    made: dict[str, Callable[[float, int], Part]] = {
        PLAIN: _plain,
        EARLY: partial(_start, _network),
        LAYERS_EARLY: partial(_start, _layers),
        AFRESH: partial(_later, _as_is),
        TURNED: partial(_later, _network),
        LAYERS: partial(_later, _layers),
        AFTER: partial(_after, _as_is),
        AFTER_TURNED: partial(_after, _network),
    }
    arms = [Arm(name, f, (5e-3, 1e-2, 2e-2)) for name, f in made.items()]
    for name, basis in ((DESCENT, _as_is), (DESCENT_TURNED, _network)):
        arms.append(Arm(name, partial(_descent, basis), (0.1, 0.2, 0.4)))
    return Comparison("language", task, tuple(arms), steps, every=max(1, steps // 6), points=40, **setting)


def measured(scale: str, results: Results) -> dict[str, list[Run]]:
    """Reporting runs of AdamW and SGD, with every assumption in both coordinates; none while they are being tuned."""
    c, kinds, out = comparison(scale), local(), {}
    for name in (PLAIN, DESCENT):
        out[name] = []
        best, adam = (c.tuned(c.arm(k), results).best for k in (name, PLAIN))
        if best is None or adam is None:
            continue
        for seed in range(3):
            sides = (("as it is", _plain(adam, seed)), ("turned", _start(_network, adam, seed)))
            probe = Shared(sides, tuple(x() for x in kinds), 3 if scale == "tiny" else 20)
            run = c.run(c.arm(name), best, seed, "report")
            out[name].append(dataclasses.replace(run, probes=(probe,)))
    return out


def runs(scale: str, results: Results) -> list[Run]:
    """Tuning, reporting, and the measured ones."""
    return [*comparison(scale).runs(results), *(r for found in measured(scale, results).values() for r in found)]


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    c = comparison(scale)
    return len(c.arms) * (c.tuning_seeds * len(c.arms[0].grid) + c.seeds) + 6


def _cost(c: Comparison, name: str, reference: str, results: Results, since: float = 0.0) -> Effect:
    """Log of the steps, after the share `since` of training, to what the reference has reached late on."""
    target, first = c.targets(reference, results, [LATE])[0], since * c.steps
    own, other = (np.maximum(np.minimum(c.times(k, target, results), c.steps) - first, 1) for k in (name, reference))
    return stats.mean((np.log(own) - np.log(other)).tolist())


def changes(scale: str, results: Results, name: str = PLAIN) -> dict[str, np.ndarray]:
    """Log of every constant of the turned network over that of the network as it is, `[seeds, T]`, along `name`."""
    found: list[Result] = [x for x in map(results.get, measured(scale, results)[name]) if x is not None]
    out = {}
    for key in (*(x.__name__ for x in local()), *TRIVIAL):
        sides = [np.array([r.series(f"{key}/{side}")[1] for r in found]) for side in ("turned", "as it is")]
        with np.errstate(invalid="ignore", divide="ignore"):
            out[key] = np.log(sides[0]) - np.log(sides[1])
    return out


def predicted(scale: str, results: Results) -> dict[str, tuple[Effect, str]]:
    """What every assumption says of the rotation, once Adam has trained: the log change and "slower", "faster", ..."""
    said = {**{x.__name__: x.larger for x in local()}, **TRIVIAL}
    steps = _steps(scale, results)
    here = int(np.argmin(np.abs(steps - SWITCH * comparison(scale).steps)))
    out = {}
    for key, x in changes(scale, results).items():
        if not np.isfinite(x[:, here]).all():
            continue
        e = stats.mean(x[:, here].tolist())
        worse = e if said[key] == "slower" else Effect(-e.value, -e.high, -e.low, e.n, e.level)
        nothing = abs(e.value) < 1e-6 or not (worse.above(0) or worse.below(0))
        out[key] = e, "nothing" if nothing else "slower" if worse.above(0) else "faster"
    return out


def _steps(scale: str, results: Results) -> np.ndarray:
    first = results.get(measured(scale, results)[PLAIN][0])
    return np.array([]) if first is None else first.series(f"cosine/{'turned'}")[0]


def verdict(scale: str, results: Results) -> Findings:
    """What a rotation costs early, late and after SGD, and what the assumptions say of it."""
    c = comparison(scale)
    steps, late = "times the steps", f"after {SWITCH:.0%} of training"
    costs = {
        EARLY: _cost(c, EARLY, PLAIN, results),
        LAYERS_EARLY: _cost(c, LAYERS_EARLY, PLAIN, results),
        TURNED: _cost(c, TURNED, AFRESH, results, SWITCH),
        LAYERS: _cost(c, LAYERS, AFRESH, results, SWITCH),
        AFTER_TURNED: _cost(c, AFTER_TURNED, AFTER, results, SWITCH),
    }

    def against(*names: str) -> tuple[str, ...]:
        return c.keys(results, *names)

    same = stats.mean(np.abs(np.array(c.last(DESCENT_TURNED, results)) - c.last(DESCENT, results)).tolist())
    found = [
        within("SGD ends where it ends without the rotation", same, 1e-2, "nats", c.name, against(DESCENT_TURNED)),
        within(
            "A network turned at the start is trained as fast by AdamW",
            costs[EARLY], SAME, steps, c.name, against(EARLY, PLAIN), math.exp,
        ),
        above(
            "Layers turned by themselves at the start slow AdamW down",
            costs[LAYERS_EARLY], 0.0, steps, c.name, against(LAYERS_EARLY, PLAIN), math.exp,
        ),
        above(
            f"A network turned {late} is trained more slowly by AdamW from then on",
            costs[TURNED], 0.0, steps, c.name, against(TURNED, AFRESH), math.exp,
        ),
        above(
            f"Layers turned by themselves {late} are trained more slowly by AdamW from then on",
            costs[LAYERS], 0.0, steps, c.name, against(LAYERS, AFRESH), math.exp,
        ),
        within(
            f"Where SGD has trained until then, a network turned {late} is trained as fast by AdamW",
            costs[AFTER_TURNED], SAME, steps, c.name, against(AFTER_TURNED, AFTER), math.exp,
        ),
    ]  # fmt: skip
    told = predicted(scale, results)
    sides = {word: [k for k, (_, said) in told.items() if said == word] for word in ("slower", "faster", "nothing")}
    cost = found[3]
    answer = (
        f"A rotation that keeps the network's function costs AdamW {found[1].effect:.3g} times the steps at the start, "
        f"{cost.effect:.3g} times {late}, and {found[5].effect:.3g} times where SGD has trained until then. Of "
        f"{len(told)} measures {len(sides['slower'])} say slower, {len(sides['faster'])} faster, "
        f"{len(sides['nothing'])} nothing."
    )
    notes = [f"Says {word}: {', '.join(names)}." for word, names in sides.items() if names]
    notes.append("An assumption that says nothing sees only what the rotation keeps, or its interval holds zero.")
    return Findings(answer, tuple(found), (*notes, *c.notes(results)))


def figures(scale: str, results: Results) -> list[Any]:
    """Curves of all arms, constants along training under AdamW and under SGD, and both tables."""
    c, steps = comparison(scale), _steps(scale, results)
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
