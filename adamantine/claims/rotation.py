"""Does Adam's advantage over SGD depend on the coordinate basis?

AdamW is run in rotated coordinates: all parameters as one vector, each layer, the weights into each output neuron
(rows), the weights out of each input neuron (columns), the singular basis of the gradient, and Shampoo's eigenbasis.
SGD, which commutes with every rotation, is the control. Sources: Maes, Zhang et al., arXiv:2410.19964, whose order of
bases is tested; Xie et al., arXiv:2410.08198.

For every scope of rotation there is a twin: AdamW with one second moment shared over each block that the rotation
mixes (AdaSGD, Adalayer, one a row, one a column). A random rotation flattens the second moment within the block up
to a relative variance of about two over the effective rank of the gradients, so that the twin should behave alike.
This equivalence is Adamantine's own prediction, and is tested as such: within one per cent of the final loss.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from adamantine import panels, stats
from adamantine.comparison import Arm, Comparison
from adamantine.data.glyphs import Glyphs
from adamantine.evidence import above, within
from adamantine.finding import REFUTED, SUPPORTED, Curve, Figure, Finding, Findings, Table
from adamantine.nets.decoder import Decoder, sized
from adamantine.nets.mlp import Mlp
from adamantine.nets.resnet import ResNet
from adamantine.nets.vit import Vit
from adamantine.optim.adam import adamw
from adamantine.optim.basis import InBasis
from adamantine.optim.clip import Clip
from adamantine.optim.decay import Decay
from adamantine.optim.eigenbasis import Eigenbasis
from adamantine.optim.hadamard import Hadamard
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.rotations import BlockHaar
from adamantine.optim.schedule import Cosine
from adamantine.optim.second_moment import Rms
from adamantine.optim.sgd import sgd
from adamantine.optim.svd_basis import SvdBasis
from adamantine.part import Part
from adamantine.probes.flatness import MomentFlatness
from adamantine.result import Results
from adamantine.run import Run
from adamantine.stats import Effect
from adamantine.tasks.images import Images
from adamantine.tasks.language import Language

BETA1, BETA2, DECAY, CLIP = 0.9, 0.95, 0.1, 1.0  # as in arXiv:2410.19964
SCHEDULE = Cosine(0.1)
# Which rotation, the arm's name, and the twin that shares its second moment over what the rotation mixes.
SCOPES = {
    "all": ("global rotation", "AdaSGD (one v)"),
    "layer": ("layer rotation", "Adalayer (v a layer)"),
    "row": ("row rotation", "Adam-mini (v a row)"),
    "column": ("column rotation", "v a column"),
}
SHAPES: dict[str, Any] = {"all": "all", "layer": "tensor", "row": "row", "column": "column"}
ADAM, SGD, SVD, EIGEN = "AdamW", "SGD", "singular basis", "eigenbasis"
# Best first: arXiv:2410.19964, figures 3 and 5.
PUBLISHED = (SVD, "row rotation", ADAM, "column rotation", "layer rotation", "global rotation")
MARGIN = 0.01
FRACTIONS = (0.3, 0.5, 0.7, 0.9)
HALF = 0.5  # late enough to matter, early enough for arms that need up to twice as long
TOLERANCE = 0.02


def _native(rate: float, seed: int) -> Part:
    return Clip(CLIP, adamw(rate, BETA1, BETA2, decay=DECAY, schedule=SCHEDULE))


def _rotated(scope: Any, rate: float, seed: int) -> Part:
    # Haar matrices are exact but dense; blocks of them leave v several times less flat than a rotation of all would.
    basis: Any = Hadamard(scope, seed=seed) if scope in ("all", "layer") else BlockHaar(scope, seed=seed)
    return InBasis(_native(rate, seed), basis)


def _shared(scope: str, rate: float, seed: int) -> Part:
    return Clip(CLIP, adamw(rate, BETA1, BETA2, decay=DECAY, schedule=SCHEDULE, shape=SHAPES[scope]))


def _singular(rate: float, seed: int) -> Part:
    return Clip(CLIP, SvdBasis(Ema(BETA1) >> Rms(BETA2), every=20) >> Decay(DECAY) >> Lr(rate, SCHEDULE))


def _eigen(rate: float, seed: int) -> Part:
    turned = Eigenbasis(Rms(BETA2), BETA2, every=10)
    return Clip(CLIP, Ema(BETA1) >> turned >> Decay(DECAY) >> Lr(rate, SCHEDULE))


def _descent(rate: float, seed: int) -> Part:
    return Clip(CLIP, sgd(rate, 0.9, decay=1e-4, schedule=SCHEDULE))


def _descent_rotated(rate: float, seed: int) -> Part:
    return InBasis(_descent(rate, seed), Hadamard("all", seed=seed))


def _arms(adam: tuple[float, ...], descent: tuple[float, ...]) -> tuple[Arm, ...]:
    def spread(scope: str) -> tuple[MomentFlatness, ...]:
        return (MomentFlatness((1, 1), scope, BETA2, CLIP),)

    arms = [Arm(ADAM, _native, adam, spread("all"))]
    for scope, (rotation, twin) in SCOPES.items():
        arms += [Arm(rotation, partial(_rotated, scope), adam, spread(scope)), Arm(twin, partial(_shared, scope), adam)]
    return (*arms, Arm(SVD, _singular, adam), Arm(EIGEN, _eigen, adam), Arm(SGD, _descent, descent))


def comparisons(scale: str) -> tuple[Comparison, ...]:
    """The tasks of this scale, with every arm but the control."""
    few, many = (_arms(_grid(1e-2, n), _grid(0.2, n)) for n in (3, 5))
    if scale == "tiny":
        text = Language(model=Decoder(context=16, width=16, depth=1, heads=2), batch=8, limit=200_000, held_out=16)
        setting = {"arms": few, "steps": 40, "seeds": 3, "tuning_seeds": 1, "widen": 1}
        return Comparison("language", text, **setting), Comparison("images", _glyphs(Mlp(256, 34, 32, 1)), **setting)
    if scale == "laptop":
        text = Language(model=Decoder(context=32, width=32, depth=1), batch=32)
        return (
            Comparison("language", text, many, 300, seeds=8),
            Comparison("images", _glyphs(Mlp(256, 34)), many, 600, seeds=8),
        )
    setting = {"arms": many, "steps": 4000, "tuning_seeds": 3, "every": 20}
    return (
        Comparison("language", Language(model=sized("small"), batch=64, limit=20_000_000, held_out=512), **setting),
        Comparison("images, Vit", _glyphs(Vit(1, 16, 34, width=128, depth=4), 256), **setting),
        Comparison("images, ResNet", _glyphs(ResNet(1, 34, 32, blocks=2), 256), **setting),
    )


def _glyphs(net: Any, batch: int = 64) -> Images:
    return Images(Glyphs(), net, batch)


def _grid(centre: float, n: int) -> tuple[float, ...]:
    return tuple(float(f"{centre * 2.0 ** (i - n // 2):.4g}") for i in range(n))


def _control(c: Comparison, results: Results) -> list[tuple[Run, Run]]:
    """SGD without and with a global rotation at SGD's tuned rate, in float64, where rounding stays tiny."""
    rate = c.tuned(c.arm(SGD), results).best
    if rate is None:
        return []

    def one(make: Callable[[float, int], Part], seed: int) -> Run:
        return Run(c.task, make(rate, seed), c.steps, seed, every=c.every, dtype="float64")

    return [(one(_descent, seed), one(_descent_rotated, seed)) for seed in range(c.seeds)]


def runs(scale: str, results: Results) -> list[Run]:
    """Tuning of every arm, then its reporting seeds, then the control."""
    found = []
    for c in comparisons(scale):
        found += [*c.runs(results), *(run for pair in _control(c, results) for run in pair)]
    return found


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    return sum(len(c.arms) * (c.tuning_seeds * len(c.arms[0].grid) + c.seeds) + 2 * c.seeds for c in comparisons(scale))


def verdict(scale: str, results: Results) -> Findings:
    """The advantage lost, the order of bases, slow-down, equivalences and the control, task by task."""
    found, words, notes = [], [], []
    for c in comparisons(scale):
        own = _findings(c, results)
        found.append(own)
        words.append(f"on {c.name} {_in_words(own[0])}")
        notes += c.notes(results)
    answer = "; ".join(words)
    # Chief findings first: each of them on every task before the next.
    ordered = tuple(f for same in zip(*found, strict=True) for f in same)
    return Findings(f"{answer[0].upper()}{answer[1:]}.", ordered, tuple(notes))


def _in_words(f: Finding) -> str:
    low, high = f.interval
    if "of the advantage" not in f.unit:
        return f"no advantage over SGD was found that a rotation could take away ({f.verdict})"
    if f.verdict == SUPPORTED:
        return f"a random rotation takes away {f.effect:.0f} % of Adam's advantage over SGD ({low:.0f} to {high:.0f} %)"
    if f.verdict == REFUTED:
        return f"Adam's advantage over SGD survives a random rotation (it loses {f.effect:.0f} %)"
    return f"it cannot be said whether Adam's advantage survives a random rotation ({low:.0f} to {high:.0f} % lost)"


def _findings(c: Comparison, results: Results) -> list[Finding]:
    return [
        _advantage(c, results),
        *_ordering(c, results),
        *(_slow(c, results, rotation) for rotation, _ in SCOPES.values()),
        _lasting(c, results),
        _narrowing(c, results),
        *(_equivalence(c, results, *pair) for pair in SCOPES.values()),
        *(_flatness(c, results, rotation) for rotation, _ in SCOPES.values()),
        _unchanged(c, results),
    ]


def _advantage(c: Comparison, results: Results) -> Finding:
    statement = "Adam's advantage over SGD shrinks by more than a tenth under a random rotation of all coordinates"
    keys, rotated = c.keys(results, ADAM, SGD, SCOPES["all"][0]), SCOPES["all"][0]
    adam, turned, descent = (np.log(c.last(n, results)) for n in (ADAM, rotated, SGD))
    gain = stats.mean((descent - adam).tolist())
    if not gain.above(0):
        statement = "Adam has an advantage over SGD that a rotation could take away"
        return above(statement, gain, 0.0, "% of the final loss", c.name, keys, _percent)
    share = stats.mean(((turned - adam) / gain.value).tolist())
    return above(statement, share, 0.1, "% of the advantage", c.name, keys, _percent)


def _ordering(c: Comparison, results: Results) -> list[Finding]:
    finals = np.array([c.last(n, results) for n in PUBLISHED])
    taus = [stats.kendall(range(len(PUBLISHED)), finals[:, seed].tolist())[0] for seed in range(c.seeds)]
    order = " < ".join(PUBLISHED[i] for i in np.argsort(finals.mean(1), kind="stable"))
    found = [
        above(
            f"The bases rank as published, {' < '.join(PUBLISHED)}; here {order}",
            stats.mean(taus),
            0.0,
            "Kendall's tau with the published order",
            c.name,
            c.keys(results, *PUBLISHED),
        )
    ]
    # Six comparisons with one reference: Bonferroni's level keeps the chance of any false verdict at 5 %.
    others = [n for n in (*PUBLISHED, EIGEN) if n != ADAM]
    for name in others:
        effect = c.against(name, ADAM, results, 1 - 0.05 / len(others))
        better = name in (SVD, EIGEN)
        statement = f"AdamW ends {'better' if better else 'worse'} in the basis “{name}” than in the one it is given"
        if better:
            effect = Effect(-effect.value, -effect.high, -effect.low, effect.n, effect.level)
        unit = f"% {'lower' if better else 'higher'} final loss"
        found.append(above(statement, effect, 0.0, unit, c.name, c.keys(results, name, ADAM), _percent))
    return found


def _slow(c: Comparison, results: Results, name: str) -> Finding:
    target = c.targets(ADAM, results, [HALF])[0]
    effect, missed = c.slowdown(name, ADAM, target, results)
    tail = f" ({missed} of {c.seeds} never got there: a lower bound)" if missed else ""
    statement = f"AdamW under {name} takes longer to the loss that AdamW reaches half way{tail}"
    return above(statement, effect, 0.0, "times the steps", c.name, c.keys(results, name, ADAM), math.exp)


def _lasting(c: Comparison, results: Results) -> Finding:
    name = SCOPES["all"][0]
    targets = c.targets(ADAM, results, FRACTIONS)
    own, other = (np.array([c.times(n, t, results) for t in targets]) for n in (name, ADAM))
    rates = [stats.rate_and_offset(own[:, s].tolist(), other[:, s].tolist())[0] for s in range(c.seeds)]
    told = [r for r in rates if math.isfinite(r)]
    # The slowest runs are the ones left out, which can only hide a slow-down.
    tail = f" ({c.seeds - len(told)} of {c.seeds} runs reached too few losses and are left out)"
    statement = "The slow-down by the global rotation is a lower rate, not only a late start: its steps grow faster"
    statement += tail if len(told) < c.seeds else ""
    return above(statement, stats.mean(told), 1.0, "steps a step of AdamW", c.name, c.keys(results, name, ADAM))


def _narrowing(c: Comparison, results: Results) -> Finding:
    name = SCOPES["all"][0]
    native, turned = (c.windows(n, results, TOLERANCE) for n in (ADAM, name))
    effect = stats.paired(native, turned, log=False)
    statement = f"The global rotation narrows the window of rates within {TOLERANCE:.0%} of the best"
    keys = tuple(results.key(run) for n in (ADAM, name) for run in c.tuned(c.arm(n), results).runs)
    return above(statement, effect, 0.0, "decades narrower", c.name, keys)


def _equivalence(c: Comparison, results: Results, rotation: str, twin: str) -> Finding:
    effect = c.against(rotation, twin, results)
    statement = f"AdamW under {rotation} ends where {twin} ends"
    return within(statement, effect, MARGIN, "% of the final loss", c.name, c.keys(results, rotation, twin), _percent)


def _flatness(c: Comparison, results: Results, name: str) -> Finding:
    ratios = []
    for r in c.results(name, results):
        steps, measured = r.series("variance")
        ahead = r.series("predicted_variance")[1]
        late = (steps >= c.steps // 4) & (measured > 0) & (ahead > 0)
        ratios.append(float(np.mean(np.log(measured[late] / ahead[late]))) if late.any() else math.nan)
    statement = f"Under {name} the second moment is as flat as 2 / r_eff predicts"
    margin, unit = math.log(1.25), "times the predicted variance"
    return within(statement, stats.mean(ratios), margin, unit, c.name, c.keys(results, name), math.exp)


def _unchanged(c: Comparison, results: Results) -> Finding:
    found = [tuple(results.get(run) for run in pair) for pair in _control(c, results)]
    plain, turned = ([r.last(c.metric) for r in side if r is not None] for side in zip(*found, strict=True))
    effect = stats.paired(turned, plain)
    statement = "The control: SGD ends where globally rotated SGD ends, up to rounding (float64)"
    keys = tuple(r.key for pair in found for r in pair if r is not None)
    return within(statement, effect, 1e-6, "% of the final loss", c.name, keys, _percent)


def _percent(x: float) -> float:
    return 100 * x


def figures(scale: str, results: Results) -> list[Figure | Table]:
    """Curves, sensitivity, slow-down and flatness of every task, then the numbers."""
    drawn: list[Figure | Table] = []
    bases = [ADAM, *(rotation for rotation, _ in SCOPES.values()), SVD, EIGEN, SGD]
    twins = [name for pair in SCOPES.values() for name in pair]
    for c in comparisons(scale):
        drawn += [
            panels.curves(c, results, bases),
            panels.slowdown(c, results, ADAM, FRACTIONS, bases[1:]),
            panels.sensitivity(c, results, bases),
            panels.curves(c, results, twins, "rotations beside their twins"),
            _spreads(c, results),
            panels.summary(c, results, ADAM, FRACTIONS, TOLERANCE),
            panels.slowdowns(c, results, ADAM, FRACTIONS, bases[1:]),
        ]
    return drawn


def _spreads(c: Comparison, results: Results) -> Figure:
    """The relative variance of the second moment within its blocks, measured and predicted, as training goes."""
    drawn = []
    for name, measure in product((ADAM, *(rotation for rotation, _ in SCOPES.values())), ("", "predicted_")):
        if name == ADAM and measure:
            continue
        found = [r.series(f"{measure}variance") for r in c.results(name, results)]
        whole = min(len(x) for x, _ in found)
        steps, values = found[0][0][:whole], np.array([y[:whole] for _, y in found])
        kept = np.isfinite(values).all(0)
        label = f"{name}, predicted" if measure else f"{name} as given" if name == ADAM else name
        y = values[:, kept].mean(0).tolist()
        drawn.append(Curve(label, steps[kept].tolist(), y, group=name, style="dash" if measure else "line"))
    return Figure(
        f"{c.name}: how flat Adam's second moment is",
        "Relative variance of v within the blocks that the rotation mixes (all coordinates for AdamW as given), and "
        "what the effective rank of the gradients predicts for a random rotation, about 2 / r_eff.",
        "step",
        "variance of v over its squared mean",
        tuple(drawn),
        y_scale="log",
        keys=c.keys(results, ADAM, *(rotation for rotation, _ in SCOPES.values())),
    )
