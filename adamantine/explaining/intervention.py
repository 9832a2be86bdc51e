"""What assumptions say of an intervention, beside what it did to the speed of optimizers."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adamantine import stats
from adamantine.comparison import Comparison
from adamantine.explaining.boards import TRIVIAL, Board, local, predictors
from adamantine.explaining.shared import Shared
from adamantine.result import Results
from adamantine.run import Run
from adamantine.stats import Effect

FAST, SLOW = "fast", "slow"
LARGE = 50.0  # logs beyond this are infinite ratios


@dataclass(frozen=True)
class Intervention:
    """`observed` is a log ratio of steps or of losses; `predicted` what each assumption says of it, in logs.

    Positive is slower, or higher. `kind` gathers the same intervention on several tasks. Where `equal` is set, speeds
    do not differ, and `predicted` is the share of pairs that an assumption tells to be alike.
    """

    kind: str
    task: str
    statement: str
    observed: Effect
    predicted: dict[str, list[float]]
    keys: tuple[str, ...]
    equal: bool = False
    unit: str = "times the steps"

    def score(self, name: str) -> float:
        """1 where the assumption says what happened, -1 where it says the opposite, 0 where it says nothing.

        A direction counts where a 95 % interval shows it, of what happened and of what is said. NaN where nothing
        happened that an interval would show, or the constant cannot be told.
        """
        said = self.predicted.get(name, [])
        if not said or any(map(math.isnan, said)):
            return math.nan
        if self.equal:
            return 2 * float(np.mean(said)) - 1
        happened, says = _direction(self.observed), _direction(stats.mean(said))
        return float(happened * says) if happened else math.nan


def _direction(e: Effect) -> int:
    if abs(e.value) < 1e-6:  # rounding, however well its draws agree
        return 0
    return 1 if e.above(0.0) else -1 if e.below(0.0) else 0


def larger() -> dict[str, str]:
    """What each assumption, and each trivial measure, says of a larger constant."""
    return {**{x.__name__: x.larger for x in local()}, **TRIVIAL}


def gap(c: Comparison, fast: str, slow: str, least: float, results: Results) -> list[float]:
    """Log of one arm's final loss over another's, by seed; what lies below `least` is taken for fitted."""
    own, other = (np.maximum(c.last(k, results), least) for k in (slow, fast))
    return (np.log(own) - np.log(other)).tolist()


def measured(c: Comparison, fast: str, slow: str, seeds: int, warm: int, results: Results) -> list[Run]:
    """Runs of the fast arm with every assumption for both, at the rates of both; none while they are being tuned."""
    both = [(side, c.arm(k), c.tuned(c.arm(k), results).best) for side, k in ((FAST, fast), (SLOW, slow))]
    if any(best is None for _, _, best in both):
        return []
    out = []
    for seed in range(seeds):
        arms = tuple((side, a.make(best or math.nan, seed)) for side, a, best in both)
        run = c.run(c.arm(fast), both[0][2] or math.nan, seed, "report")
        probe = Shared(arms, tuple(x() for x in local()), warm)
        out.append(dataclasses.replace(run, every=max(1, c.steps // 3), probes=(probe,)))
    return out


def said(asked: Sequence[Run], results: Results) -> dict[str, list[float]]:
    """By name, the mean along each run of the log of the slow arm's constant over the fast one's; positive: slower."""
    told = [r for r in map(results.get, asked) if r is not None]
    return {
        k: [_mean(r.series(f"{k}/{SLOW}")[1], r.series(f"{k}/{FAST}")[1], side) for r in told]
        for k, side in larger().items()
    }


def _mean(slow: np.ndarray, fast: np.ndarray, side: str) -> float:
    n = min(len(slow), len(fast))
    logs = ratio(slow[:n], fast[:n], side)
    return float(logs.mean()) if n else math.nan


def ratio(slow: np.ndarray, fast: np.ndarray, side: str) -> np.ndarray:
    """Logs, signed so that positive is slower; both infinite, or both zero, are equal."""
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(slow == fast, 0.0, np.log(slow) - np.log(fast))
    return np.clip(logs, -LARGE, LARGE) * (1 if side == "slower" else -1)


def change(one: dict[str, list[float]], other: dict[str, list[float]]) -> dict[str, list[float]]:
    """The first less the second, pair by pair."""
    return {k: [a - b for a, b in zip(x, other[k], strict=False)] for k, x in one.items()}


def on_board(b: Board, slow: str, fast: str, results: Results) -> dict[str, list[float]]:
    """What the constants at one place say of two arms of a board, by measurement."""
    names, sides = [a.name for a in b.comparison.arms], larger()
    i, j = names.index(slow), names.index(fast)
    found = ((k, x) for k, (x, _) in predictors(b, results).items() if k in sides)
    return {k: ratio(x[i], x[j], sides[k]).tolist() for k, x in found}


def alike(b: Board, pairs: Sequence[tuple[str, str]], share: float, results: Results) -> dict[str, list[float]]:
    """Whether each pair's constants lie within a `share` of the deviation, over all arms, of the constant's log."""
    names = [a.name for a in b.comparison.arms]
    out = {}
    for k, (logs, spread) in spreads(b, results).items():
        apart = [abs(logs[names.index(one)] - logs[names.index(two)]) for one, two in pairs]
        out[k] = [float(a <= share * spread) for a in apart]
    return out


def spreads(b: Board, results: Results) -> dict[str, tuple[np.ndarray, float]]:
    """Of every constant the mean log by arm, and its deviation over arms; those are left out that are all the same.

    A constant that is the same for all arms tells nobody alike: it tells nothing.
    """
    out = {}
    for k, (x, _) in predictors(b, results).items():
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.clip(np.log(x), -LARGE, LARGE).mean(1)
        if k in larger() and np.isfinite(logs).all() and logs.std() > 1e-9:
            out[k] = logs, float(logs.std())
    return out
