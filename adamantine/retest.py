"""One set of runs for many claims of the literature: three optimizers on three tasks, with the instruments of all.

Claims that ask for the same runs share them in the store: the first one executes them, the others read.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from adamantine import stats
from adamantine.assume.block_heterogeneity import BlockHeterogeneity
from adamantine.assume.convexity_ratio import ConvexityRatio
from adamantine.assume.restricted_secant import RestrictedSecant
from adamantine.assume.smoothness import Smoothness
from adamantine.assume.spectral_condition import SpectralCondition
from adamantine.assume.star_convexity import StarConvexity
from adamantine.comparison import Arm, Comparison
from adamantine.data.glyphs import Glyphs
from adamantine.finding import Curve, Figure
from adamantine.nets.decoder import Decoder, sized
from adamantine.nets.mlp import Mlp
from adamantine.nets.resnet import ResNet
from adamantine.nets.vit import Vit
from adamantine.optim.adam import adamw
from adamantine.optim.clip import Clip
from adamantine.optim.muon import muon
from adamantine.optim.schedule import Cosine
from adamantine.optim.sgd import sgd
from adamantine.part import Part
from adamantine.probes.directional import DirectionalSharpness
from adamantine.probes.frequency_loss import FrequencyLoss
from adamantine.result import Results
from adamantine.run import Run
from adamantine.tasks.images import Images
from adamantine.tasks.language import Language

ADAM, SGD, MUON = "AdamW", "SGD", "Muon"
SCHEDULE, CLIP = Cosine(0.1), 1.0


def _adam(rate: float, seed: int) -> Part:
    return Clip(CLIP, adamw(rate, 0.9, 0.95, decay=0.1, schedule=SCHEDULE))


def _descent(rate: float, seed: int) -> Part:
    return Clip(CLIP, sgd(rate, 0.9, decay=1e-4, schedule=SCHEDULE))


def _muon(rate: float, seed: int) -> Part:
    return Clip(CLIP, muon(rate, decay=0.1, shaping="match_rms_adamw", adam_ratio=1.0, schedule=SCHEDULE))


def comparisons(scale: str) -> tuple[Comparison, ...]:
    """The tasks of this scale, with all three arms and all instruments."""
    probes = (
        DirectionalSharpness(fresh=True), ConvexityRatio(), RestrictedSecant(), StarConvexity(), SpectralCondition(),
        FrequencyLoss(), Smoothness(10), BlockHeterogeneity(8),
    )  # fmt: skip
    setting: dict[str, Any] = {"seeds": 6, "tuning_seeds": 2, "widen": 3}
    if scale == "tiny":
        text = Language(model=Decoder(context=16, width=16, depth=1, heads=2), batch=8, limit=200_000, held_out=16)
        named: dict[str, Any] = {"language": (text, 24), "images, perceptron": (_glyphs(Mlp(256, 34, 16, 1), 16), 24)}
        setting = {"seeds": 3, "tuning_seeds": 1, "widen": 0}
    elif scale == "laptop":
        text = Language(model=Decoder(context=32, width=32, depth=1), batch=32)
        images = {"perceptron": (_glyphs(Mlp(256, 34)), 500), "ResNet": (_glyphs(ResNet(1, 34, 8, blocks=1)), 300)}
        named = {"language": (text, 300), **{f"images, {k}": v for k, v in images.items()}}
    else:
        text = Language(model=sized("small"), batch=64, limit=20_000_000, held_out=512)
        nets = {"perceptron": Mlp(256, 34, 512, 3), "Vit": Vit(1, 16, 34, width=128, depth=4)}
        nets |= {"ResNet": ResNet(1, 34, 32, blocks=2)}
        named = {"language": (text, 4000), **{f"images, {k}": (_glyphs(v, 256), 4000) for k, v in nets.items()}}
    few = 3
    arms = (
        Arm(ADAM, _adam, _grid(1e-2, few), probes),
        Arm(SGD, _descent, _grid(0.2, few), probes),
        Arm(MUON, _muon, _grid(1e-2, few), probes),
    )
    return tuple(Comparison(k, t, arms, n, every=max(1, n // 12), **setting) for k, (t, n) in named.items())


def _glyphs(net: Any, batch: int = 64) -> Images:
    return Images(Glyphs(), net, batch)


def _grid(centre: float, n: int) -> tuple[float, ...]:
    return tuple(float(f"{centre * 2.0 ** (i - n // 2):.4g}") for i in range(n))


def runs(scale: str, results: Results) -> list[Run]:
    """All of them."""
    return [run for c in comparisons(scale) for run in c.runs(results)]


def expected(scale: str) -> int:
    """About how many there are, if no grid is widened."""
    return sum(len(c.arms) * (c.tuning_seeds * len(c.arms[0].grid) + c.seeds) for c in comparisons(scale))


def series(c: Comparison, arm: str, name: str, results: Results) -> tuple[np.ndarray, np.ndarray]:
    """Steps `[T]` and `name` along the arm's reporting runs `[seeds, T]`."""
    found = [r.series(name) for r in c.results(arm, results)]
    steps = max((x for x, _ in found), key=len)
    out = np.full((len(found), len(steps)), np.nan)
    for i, (_, y) in enumerate(found):
        out[i, : len(y)] = y
    return steps, out


def tau(x: Sequence[float]) -> stats.Effect:
    """The mean of rank correlations; Student's interval knows no ends, they do."""
    e = stats.mean(x)
    return stats.Effect(e.value, max(e.low, -1.0), min(e.high, 1.0), e.n, e.level)


def figure(
    c: Comparison, names: Sequence[str], results: Results, title: str, y: str, arms: Sequence[str] = (ADAM, SGD, MUON),
    log: bool = True,
) -> Figure:  # fmt: skip
    """Means over seeds with 95 % intervals, a line for each arm and name, the later names dashed."""
    curves = []
    for arm in arms:
        for i, name in enumerate(names):
            steps, x = series(c, arm, name, results)
            bands = [stats.mean(column[np.isfinite(column)].tolist()) for column in x.T]
            mean, low, high = ([getattr(b, part) for b in bands] for part in ("value", "low", "high"))
            label = arm if len(names) == 1 else f"{arm}: {name}"
            curves.append(Curve(label, steps.tolist(), mean, low, high, group=arm, style="dash" if i else "line"))
    caption = f"On {c.name}; mean over {c.seeds} seeds at the tuned rate of each arm, 95 % intervals."
    return Figure(title, caption, "step", y, tuple(curves), y_scale="log" if log else "linear", keys=c.keys(results))
