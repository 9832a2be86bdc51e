"""Does Adam's advantage over SGD at image generation come with the Transformer?

Flow matching (Lipman et al., arXiv:2210.02747) on the same images by two velocity networks with about as many
parameters: a convolutional U-Net, and DiT (Peebles & Xie, arXiv:2212.09748), the Transformer that took its place. Each
is trained by Adam, which is how DiT was trained (AdamW without decay), and by SGD with momentum; both are clipped at
norm 1, with cosine and warmup, at rates tuned alike. For classification and language, SGD falls behind on Transformers
and hardly on convolutions (Zhang et al., arXiv:2402.16788, who point to the Hessian's blocks).

Here the task stays and only the network changes. The advantage is the log ratio of held-out losses, SGD's over
Adam's, paired by seed. That loss has a floor above zero (many images and noises meet at one place), which hides part of
any advantage and hides more of it the better the network. So the advantage is also taken in the energy distance
between generated and held-out images, whose floor is zero; `distance_real` is what real images get. Those estimates
may be negative and so are compared by their differences: a network that is farther off altogether has more to gain.
"""

import math
from typing import Any

import numpy as np

from adamantine import panels, stats
from adamantine.comparison import Arm, Comparison
from adamantine.data.digits import Digits
from adamantine.data.glyphs import Glyphs
from adamantine.evidence import above
from adamantine.finding import REFUTED, SUPPORTED, Curve, Figure, Finding, Findings, Gallery, Table
from adamantine.nets.dit import Dit
from adamantine.nets.unet import Unet
from adamantine.optim.adam import adam
from adamantine.optim.clip import Clip
from adamantine.optim.schedule import Cosine
from adamantine.optim.sgd import sgd
from adamantine.part import Part
from adamantine.result import Results
from adamantine.run import Run
from adamantine.stats import Effect
from adamantine.tasks.generation import Generation

ADAM, SGD = "Adam", "SGD"
CONVOLUTION, TRANSFORMER = "U-Net", "DiT"
CLIP, SCHEDULE = 1.0, Cosine(0.1)
FRACTIONS = (0.5, 0.75)
TOLERANCE = 0.02
SHOWN = 12


def _adam(rate: float, seed: int) -> Part:
    return Clip(CLIP, adam(rate, schedule=SCHEDULE))


def _descent(rate: float, seed: int) -> Part:
    return Clip(CLIP, sgd(rate, 0.9, schedule=SCHEDULE))


def comparisons(scale: str) -> tuple[Comparison, Comparison]:
    """Adam and SGD on the U-Net, and on the DiT, of this scale."""
    setting: dict[str, Any]
    if scale == "tiny":
        nets = Unet(1, 8, 2), Dit(1, 8, 2, 16, 2, 2)
        task = {"data": Digits(), "batch": 16, "held_out": 64, "times": 2, "heun": 4}
        setting = {"steps": 40, "seeds": 3, "tuning_seeds": 1, "widen": 1, "points": 2}
    elif scale == "laptop":
        nets = Unet(1, 12, 2), Dit(1, 12, 2, 24, 2)
        task = {"data": Glyphs(12, "0123456789", noise=0.05), "batch": 32, "heun": 6}
        setting = {"steps": 400, "seeds": 6, "points": 4}
    else:
        nets = Unet(1, 32, 3), Dit(1, 16, 2, 96, 3)
        task = {"data": Glyphs(noise=0.05), "batch": 256, "held_out": 1000, "heun": 16}
        setting = {"steps": 4000, "seeds": 8, "tuning_seeds": 3, "points": 10, "every": 20}
    n = 3 if scale == "tiny" else 5
    arms = Arm(ADAM, _adam, _grid(0.02, n)), Arm(SGD, _descent, _grid(0.5, n))
    one, other = (
        Comparison(name, Generation(net=net, **task), arms, unit="mean square error", **setting)
        for name, net in zip((CONVOLUTION, TRANSFORMER), nets, strict=True)
    )
    return one, other


def _grid(centre: float, n: int) -> tuple[float, ...]:
    return tuple(float(f"{centre * 2.0 ** (i - n // 2):.4g}") for i in range(n))


def runs(scale: str, results: Results) -> list[Run]:
    """Tuning of both arms on both networks, then their reporting seeds."""
    return [run for c in comparisons(scale) for run in c.runs(results)]


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    return sum(len(c.arms) * (c.tuning_seeds * len(c.arms[0].grid) + c.seeds) for c in comparisons(scale))


def verdict(scale: str, results: Results) -> Findings:
    """The difference of the advantages, then each of them, in held-out loss and in distance."""
    convolution, transformer = comparisons(scale)
    chief = _difference(convolution, transformer, results)
    losses = [_advantage(c, results) for c in (convolution, transformer)]
    distances = [_closer(c, results) for c in (convolution, transformer)]
    notes = [note for c in (convolution, transformer) for note in c.notes(results)]
    further = _difference_of_distances(convolution, transformer, results)
    return Findings(_answer(chief, losses), (chief, *losses, *distances, further), tuple(notes))


def _answer(chief: Finding, losses: list[Finding]) -> str:
    each = " and ".join(
        f"{f.effect:.1f} % higher with the {f.task} ({f.interval[0]:.1f} to {f.interval[1]:.1f} %)" for f in losses
    )
    comes = {
        SUPPORTED: "Adam's advantage is larger with the Transformer",
        REFUTED: "Adam's advantage is smaller with the Transformer, not larger",
    }
    first = comes.get(chief.verdict, "It cannot be said whether Adam's advantage is larger with the Transformer")
    return f"{first}: SGD's final loss, over Adam's, is {each}."


def _advantages(c: Comparison, results: Results) -> np.ndarray:
    """Log ratio of the final losses, SGD's over Adam's, a seed; NaN where both diverged."""
    with np.errstate(invalid="ignore"):
        return np.log(c.last(SGD, results)) - np.log(c.last(ADAM, results))


def _difference(convolution: Comparison, transformer: Comparison, results: Results) -> Finding:
    with np.errstate(invalid="ignore"):
        more = _advantages(transformer, results) - _advantages(convolution, results)
    statement = "Adam's advantage over SGD in held-out loss is larger with the Transformer than with the U-Net"
    keys = (*convolution.keys(results), *transformer.keys(results))
    unit = "% higher ratio of SGD's loss to Adam's"
    return above(statement, stats.mean(more.tolist()), 0.0, unit, "both networks", keys, _percent)


def _advantage(c: Comparison, results: Results) -> Finding:
    statement = "Adam ends with a lower held-out loss than SGD"
    effect = c.against(SGD, ADAM, results)
    return above(statement, effect, 0.0, "% higher final loss with SGD", c.name, c.keys(results), _percent)


def _distances(c: Comparison, results: Results) -> np.ndarray:
    """SGD's final distance less Adam's, a seed; the estimates may be negative, so that logarithms are no way."""
    with np.errstate(invalid="ignore"):
        return np.array(c.last(SGD, results, "distance")) - np.array(c.last(ADAM, results, "distance"))


def _closer(c: Comparison, results: Results) -> Finding:
    statement = "What is generated is closer to held-out images with Adam than with SGD"
    effect = stats.mean(_distances(c, results).tolist())
    return above(statement, effect, 0.0, "farther with SGD (energy distance)", c.name, c.keys(results))


def _difference_of_distances(convolution: Comparison, transformer: Comparison, results: Results) -> Finding:
    with np.errstate(invalid="ignore"):
        more = _distances(transformer, results) - _distances(convolution, results)
    statement = "Adam's advantage over SGD in distance is larger with the Transformer than with the U-Net"
    keys = (*convolution.keys(results), *transformer.keys(results))
    unit = "more distance gained by Adam (energy distance)"
    return above(statement, stats.mean(more.tolist()), 0.0, unit, "both networks", keys)


def _percent(log: float) -> float:
    return 100 * math.expm1(log) if log < 700 else math.inf


def figures(scale: str, results: Results) -> list[Any]:
    """Samples, advantages, curves and sensitivity of both networks, then the numbers."""
    both = comparisons(scale)
    drawn: list[Any] = [_samples(both, results), _bars(both, results)]
    for c in both:
        drawn += [panels.curves(c, results), panels.sensitivity(c, results)]
    drawn.append(_table(both, results))
    drawn += [panels.summary(c, results, ADAM, FRACTIONS, TOLERANCE) for c in both]
    return drawn


def _samples(both: tuple[Comparison, ...], results: Results) -> Gallery:
    """Real images, and what each arm's first reporting run generates; a run that diverged shows nothing."""
    rows, real, keys = {}, [], []
    for c in both:
        for arm in c.arms:
            first = c.results(arm.name, results)[0]
            keys.append(first.key)
            if first.samples:
                rows[f"{c.name}, {arm.name}"] = first.samples["generated"][:SHOWN].tolist()
                real = first.samples["real"][:SHOWN].tolist()
    title = "What the networks generate, each arm at its tuned rate"
    caption = "From reporting seed 0, not chosen; the same noise in every row but the real images, which are held out."
    return Gallery(title, caption, {"real": real, **rows} if real else rows, tuple(keys))


def _bars(both: tuple[Comparison, ...], results: Results) -> Figure:
    effects: list[Effect] = [c.against(SGD, ADAM, results) for c in both]
    y, low, high = ([_percent(getattr(e, part)) for e in effects] for part in ("value", "low", "high"))
    return Figure(
        "Adam's advantage, network by network",
        f"How much higher SGD's final held-out loss is than Adam's; mean over {both[0].seeds} reporting seeds of the "
        "log ratio, 95 % intervals.",
        "",
        "% higher final loss with SGD",
        (Curve("SGD over Adam", [c.name for c in both], y, low, high, style="bar"),),
        x_scale="category",
        keys=tuple(key for c in both for key in c.keys(results)),
    )


def _table(both: tuple[Comparison, ...], results: Results) -> Table:
    rows = []
    for c in both:
        for arm in c.arms:
            loss, distance = (stats.mean(c.last(arm.name, results, m)) for m in ("held_out", "distance"))
            halves = [(e.high - e.low) / 2 for e in (loss, distance)]
            real = c.results(arm.name, results)[0].last("distance_real")
            rows.append((c.name, arm.name, loss.value, halves[0], distance.value, halves[1], real))
    return Table(
        "Held-out loss, and distance of generated from held-out images",
        f"Means over {both[0].seeds} reporting seeds with half their 95 % intervals. The distance is the unbiased "
        "estimate of the energy distance in pixels; the last column has as many training images in place of generated "
        "ones, so that it is what a perfect generator would get.",
        ("network", "arm", "held-out loss", "± loss", "distance", "± distance", "distance of real images"),
        tuple(rows),
        keys=tuple(key for c in both for key in c.keys(results)),
    )
