"""The tasks and arms of the claims that ask which constants go with speed, their runs, and what these say."""

import dataclasses
import importlib
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from adamantine import stats
from adamantine.assume.one_step_gain import OneStepGain
from adamantine.assume.sign_gain import SignGain
from adamantine.comparison import Comparison
from adamantine.data.glyphs import Glyphs
from adamantine.explaining.arms import REFERENCE, arms
from adamantine.explaining.own_basis import OwnBasis
from adamantine.explaining.shared import Shared
from adamantine.listing import entries
from adamantine.nets.decoder import Decoder, sized
from adamantine.nets.mlp import Mlp
from adamantine.nets.resnet import ResNet
from adamantine.nets.vit import Vit
from adamantine.result import Results
from adamantine.run import Run
from adamantine.tasks.images import Images
from adamantine.tasks.language import Language

CHEAP = 12  # oracle calls up to which a constant is measured along every arm's own path
HALF = 0.5  # of training: where the reference stands then is what all are timed to
SQUARES, PIECES, APART = (OneStepGain, SignGain), 4, "independent batches: "
TRIVIAL = {"cosine": "faster", "agreement": "faster"}


@dataclass(frozen=True)
class Board:
    """The arms on one task, and the runs in which all of them are measured at one place."""

    comparison: Comparison
    measures: tuple[Any, ...]
    measured: int
    warm: int

    def shared(self, results: Results) -> list[Run]:
        """The reference at its tuned rate, with every assumption for every arm; none while it is being tuned."""
        c = self.comparison
        best = c.tuned(c.arm(REFERENCE), results).best
        if best is None:
            return []
        return [
            dataclasses.replace(
                c.run(c.arm(REFERENCE), best, seed, "report"),
                probes=(Shared(self._parts(seed), tuple(x() for x in self.measures), self.warm),),
            )
            for seed in range(self.measured)
        ]

    def independent(self, results: Results) -> list[Run]:
        """The same for what squares a slope, from batches apart: without the noise that one batch adds."""
        probe = Shared(self._parts(0), tuple(x() for x in SQUARES), self.warm, PIECES)
        return [dataclasses.replace(r, probes=(probe,)) for r in self.shared(results)[:1]]

    def _parts(self, seed: int) -> tuple[tuple[str, Any], ...]:
        return tuple((a.name, a.make(a.grid[len(a.grid) // 2], seed)) for a in self.comparison.arms)


@cache
def assumptions() -> tuple[Any, ...]:
    """All classes of the package, found by walking it."""
    return tuple(getattr(importlib.import_module(e.module), e.name) for e in entries("assumptions"))


@cache
def local() -> tuple[Any, ...]:
    """Those that can be told before a run has ended."""
    return tuple(x for x in assumptions() if "keep" not in {f.name for f in dataclasses.fields(x)})


@cache
def cheap() -> tuple[Any, ...]:
    """Those that cost few oracle calls, and none that asks for the gradients of all examples in turned coordinates."""
    found = ((x, x().cost) for x in assumptions())
    return tuple(
        x
        for x, cost in found
        if sum(cost.values()) <= CHEAP and not any(k.startswith("each") or k.endswith("tensor") for k in cost)
    )


def boards(scale: str) -> tuple[Board, ...]:
    """The tasks of this scale with their arms."""
    if scale == "tiny":
        text = Language(model=Decoder(context=16, width=16, depth=1, heads=2), batch=8, limit=200_000, held_out=16)
        named = {"language": (text, 12), "images, perceptron": (_glyphs(Mlp(256, 34, 16, 1), 16), 12)}
        setting: dict[str, Any] = {"rates": 3, "seeds": 3, "tuning_seeds": 1, "widen": 0, "measured": 1, "warm": 3}
        setting["few"] = True
    elif scale == "laptop":
        text = Language(model=Decoder(context=32, width=32, depth=1), batch=32)
        images = {
            "images, perceptron": (_glyphs(Mlp(256, 34)), 500),
            "images, ResNet": (_glyphs(ResNet(1, 34, 8, blocks=1)), 300),
        }
        named = {"language": (text, 300), **images}
        setting = {"rates": 3, "seeds": 4, "tuning_seeds": 2, "widen": 2, "measured": 1, "warm": 20}
    else:
        text = Language(model=sized("small"), batch=64, limit=20_000_000, held_out=512)
        images = {
            "images, perceptron": (_glyphs(Mlp(256, 34, 512, 3), 256), 4000),
            "images, Vit": (_glyphs(Vit(1, 16, 34, width=128, depth=4), 256), 4000),
            "images, ResNet": (_glyphs(ResNet(1, 34, 32, blocks=2), 256), 4000),
        }
        named = {"language": (text, 4000), **images}
        setting = {"rates": 5, "seeds": 5, "tuning_seeds": 2, "widen": 3, "measured": 3, "warm": 20}
    return tuple(_board(name, task, steps, **setting) for name, (task, steps) in named.items())


def _board(
    name: str, task: Any, steps: int, rates: int, measured: int, warm: int, few: bool = False, **setting: Any
) -> Board:
    found = arms(task.tags(), rates, tuple(OwnBasis(x()) for x in cheap()), few)
    measures = tuple(x for x in local() if not few or x in cheap())
    return Board(Comparison(name, task, found, steps, every=max(1, steps // 2), **setting), measures, measured, warm)


def _glyphs(net: Any, batch: int = 64) -> Images:
    return Images(Glyphs(), net, batch)


def runs(scale: str, results: Results) -> list[Run]:
    """Tuning and reporting of every arm, and the runs in which all are measured."""
    found = boards(scale)
    measured = [run for b in found for run in (*b.shared(results), *b.independent(results))]
    return [run for b in found for run in b.comparison.runs(results)] + measured


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    found = ((b, b.comparison) for b in boards(scale))
    return sum(len(c.arms) * (c.tuning_seeds * len(c.arms[0].grid) + c.seeds) + b.measured for b, c in found)


def slow(b: Board, results: Results) -> np.ndarray:
    """Log of the steps to the reference's half-way loss over the reference's, `[arms, seeds]`; capped at the end."""
    c = b.comparison
    target = c.targets(REFERENCE, results, [HALF])[0]
    times = np.array([np.minimum(c.times(a.name, target, results), c.steps) for a in c.arms])
    return np.log(times) - np.log(times[0])


def rate_and_offset(b: Board, results: Results) -> tuple[np.ndarray, np.ndarray]:
    """What lasts of a slow-down and what does not, each `[arms, seeds]`: of `time = offset + rate * reference's time`.

    By least squares over the reference's losses after eighths of its training, from a quarter to three quarters. The
    log of the rate, and the offset as a share of training; NaN where an arm reaches less than two of them.
    """
    c = b.comparison
    targets = c.targets(REFERENCE, results, [i / 8 for i in range(2, 7)])
    times = np.array([[c.times(a.name, t, results) for t in targets] for a in c.arms])  # [arms, targets, seeds]
    pairs = ([*zip(x.T, times[0].T, strict=True)] for x in times)
    fits = np.array([[stats.rate_and_offset(own, reference) for own, reference in both] for both in pairs])
    rate, offset = fits[:, :, 0], fits[:, :, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(rate > 0, np.log(rate), math.nan), offset / c.steps


def predictors(b: Board, results: Results) -> dict[str, tuple[np.ndarray, str]]:
    """By name, the constants `[arms, measurements]` and what theory says of a larger one; "own: ..." on own paths."""
    c, found = b.comparison, {}
    told = [r for r in (results.get(run) for run in b.shared(results)) if r is not None]
    for name, larger in {**{x.__name__: x.larger for x in b.measures}, **TRIVIAL}.items():
        rows = [np.concatenate([r.series(f"{name}/{a.name}")[1] for r in told]) for a in c.arms]
        found[name] = np.array(rows), larger
    again = [r for r in (results.get(run) for run in b.independent(results)) if r is not None]
    for x in SQUARES:
        rows = [np.concatenate([r.series(f"{x.__name__}/{a.name}")[1] for r in again]) for a in c.arms] if again else []
        found[f"{APART}{x.__name__}"] = np.array(rows), x.larger
    for x in cheap():
        series = [[r.series(x.__name__)[1] for r in c.results(a.name, results)] for a in c.arms]
        found[f"own: {x.__name__}"] = np.array([[_middle(s) for s in row] for row in series]), x.larger
    return {k: (x, larger) for k, (x, larger) in found.items() if x.size and not np.isnan(x).all()}


def _middle(x: np.ndarray) -> float:
    told = x[np.isfinite(x)]
    return float(np.median(told)) if len(told) else math.nan
