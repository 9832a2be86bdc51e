"""Arms that train a network turned so that its function stays, at the start, later, and after SGD."""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from adamantine import stats
from adamantine.comparison import Arm, Comparison
from adamantine.explaining.boards import TRIVIAL, local
from adamantine.explaining.shared import Shared
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
PLAIN, AFRESH, TURNED = "AdamW", "AdamW, moments afresh", "AdamW, network turned"
EARLY, LAYERS, LAYERS_EARLY = "AdamW, network turned at the start", "AdamW, layers turned", "AdamW, layers at the start"
AFTER, AFTER_TURNED = "SGD, then AdamW", "SGD, then AdamW, network turned"
DESCENT, DESCENT_TURNED = "SGD", "SGD, network turned"


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


def cost_of(c: Comparison, name: str, reference: str, results: Results, since: float = 0.0) -> Effect:
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


def steps_of(scale: str, results: Results) -> np.ndarray:
    """Where constants were measured."""
    first = results.get(measured(scale, results)[PLAIN][0])
    return np.array([]) if first is None else first.series("cosine/turned")[0]


def at_switch(scale: str, results: Results) -> int:
    """The measurement nearest to where networks are turned."""
    return int(np.argmin(np.abs(steps_of(scale, results) - SWITCH * comparison(scale).steps)))
