"""Does the gradient noise scale predict the critical batch of reinforcement learning?

In supervised learning the batch beyond which more examples save few steps is near the noise scale of the gradient
(McCandlish et al., arXiv:1812.06162): `(E / E_min - 1) (S / S_min - 1) = 1`, with `E` the examples and `S` the steps it
takes to reach a score, has its bend at `B = E_min / S_min`, predicted by `tr Sigma / |G|^2`. In policy optimization the
batch is the rollout that the policy is held fixed for. Rollouts over a factor of 64, at the best of three rates each,
give the curve on cart-pole; the noise scale is measured in the very same runs, on copies of the world held out of
training, for the actor and the critic. The claim is that the two agree within a factor of three.
"""

import math
from typing import Any

import numpy as np

from adamantine import stats
from adamantine.control.cart_pole import CartPole
from adamantine.evidence import above, within
from adamantine.finding import Curve, Figure, Findings, Table
from adamantine.optim.adam import adam
from adamantine.optim.clip import Clip
from adamantine.part import Part
from adamantine.profiling.observer import Observer
from adamantine.result import Result, Results
from adamantine.run import Run
from adamantine.stats import Effect
from adamantine.tasks.ppo import PPO

TARGET = 300.0
MARGIN = math.log(3.0)
DRAWS = 1000


def _part(rate: float) -> Part:
    return Clip(0.5, adam(rate, eps=1e-5))


def setting(scale: str) -> tuple[tuple[int, ...], tuple[float, ...], int, float]:
    """Copies of the world, rates, seeds, and the return to reach."""
    if scale == "tiny":
        return (1, 2, 4), (1e-3, 4e-3, 1.6e-2), 3, 22.0
    return (1, 2, 4, 8, 16, 32, 64), (1e-3, 3e-3, 9e-3), {"laptop": 6, "gpu": 24}[scale], TARGET


def task(envs: int, scale: str) -> PPO:
    """So many copies in every rollout; as many steps of the optimizer a rollout for all."""
    return PPO(CartPole(), envs, 16 if scale == "tiny" else 64, held_out=4)


def runs(scale: str, results: Results) -> list[Run]:
    """All sizes at all rates."""
    sizes, rates, seeds, _ = setting(scale)
    return [run(n, r, k, scale) for n in sizes for r in rates for k in range(seeds)]


def run(envs: int, rate: float, seed: int, scale: str) -> Run:
    """One training run, long enough for its size."""
    t = task(envs, scale)
    rollouts = 6 if scale == "tiny" else round(80 + 400 / envs**0.5)
    every = t.period * (1 if scale == "tiny" else 4)
    return Run(t, _part(rate), rollouts * t.period, seed, every=every, probes=(Observer(),))


def expected(scale: str) -> int:
    """How many runs there are."""
    return len(runs(scale, Results()))


def reached(r: Result, envs: int, scale: str) -> tuple[float, float]:
    """Steps of the world and rollouts until the mean return is above the target; infinite where it never was."""
    steps, x = r.series("return")
    t = task(envs, scale)
    at = stats.time_to(steps / t.period, -x, -setting(scale)[3])
    return at * envs * t.horizon, at


def _table(scale: str, results: Results) -> np.ndarray:
    """Rollouts to the target `[sizes, rates, seeds]`."""
    sizes, rates, seeds, _ = setting(scale)
    found = np.full((len(sizes), len(rates), seeds), math.inf)
    for i, n in enumerate(sizes):
        for j, rate in enumerate(rates):
            for k in range(seeds):
                r = results.get(run(n, rate, k, scale))
                if r is not None and len(r.series("return")[1]):
                    found[i, j, k] = max(reached(r, n, scale)[1], 0.5)
    return found


def fitted(sizes: np.ndarray, rollouts: np.ndarray) -> float:
    """Logarithm of the critical size, in copies: the fit of `S = S_min (1 + B_c / B)` by least squares of logarithms.

    NaN where fewer than three sizes reach the target.
    """
    ok = np.isfinite(rollouts)
    if ok.sum() < 3:
        return math.nan
    grid = np.linspace(math.log(sizes[0]) - 3, math.log(sizes[-1]) + 3, 400)
    shape = np.log1p(np.exp(grid)[:, None] / sizes[ok])
    rest = np.log(rollouts[ok]) - shape
    return float(grid[np.square(rest - rest.mean(1, keepdims=True)).sum(1).argmin()])


def critical(scale: str, results: Results) -> tuple[Effect, np.ndarray]:
    """The critical batch in logarithms of examples, by a bootstrap over seeds, and the draws."""
    sizes, _, seeds, _ = setting(scale)
    table, rng, horizon = _table(scale, results), np.random.default_rng(0), task(1, scale).horizon

    def once(which: np.ndarray) -> float:
        drawn = table[:, :, which]
        with np.errstate(invalid="ignore"):
            best = np.median(drawn, axis=2).min(1)  # the best rate of each size
        return fitted(np.array(sizes, float), best) + math.log(horizon)

    value = once(np.arange(seeds))
    drawn = np.array([once(rng.integers(seeds, size=seeds)) for _ in range(DRAWS)])
    if np.isnan(drawn).mean() > 0.05 or math.isnan(value):
        return Effect(math.nan, -math.inf, math.inf, seeds), drawn
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Effect(value, float(low), float(high), seeds), drawn


def noise(scale: str, group: str, results: Results) -> Effect:
    """Logarithm of the noise scale, over seeds, from the middle rate and size, where training was under way."""
    sizes, rates, seeds, _ = setting(scale)
    per = []
    for k in range(seeds):
        above_, below = 0.0, 0.0
        for n in sizes:
            r = results.get(run(n, rates[1], k, scale))
            if r is not None:
                above_ += float(r.series(f"{group}/noise")[1].mean())
                below += float(r.series(f"{group}/signal")[1].mean())
        per.append((above_, below))
    x = np.array(per)
    if x[:, 1].mean() <= 2 * x[:, 1].std(ddof=1) / math.sqrt(seeds):
        return Effect(math.nan, -math.inf, math.inf, seeds)
    return stats.mean(np.log(np.maximum(x[:, 0], 1e-300) / x[:, 1].mean()).tolist())


def verdict(scale: str, results: Results) -> Findings:
    """The ratio of the critical batch to the noise scale, for actor and critic."""
    batch, _ = critical(scale, results)
    found = []
    keys = tuple(results.key(r) for r in runs(scale, results))
    for group in ("actor", "critic"):
        scale_of = noise(scale, group, results)
        half = math.hypot(batch.high - batch.value, scale_of.high - scale_of.value)
        under = math.hypot(batch.value - batch.low, scale_of.value - scale_of.low)
        ratio = batch.value - scale_of.value
        known = math.isfinite(ratio)
        effect = Effect(ratio, ratio - under if known else -math.inf, ratio + half if known else math.inf, batch.n)
        statement = f"The critical batch is the noise scale of the {group}, up to a factor of three"
        found.append(within(statement, effect, MARGIN, "log ratio", "cart-pole", keys))
    sizes = setting(scale)[0]
    inside = Effect(batch.value - math.log(sizes[0] * task(1, scale).horizon), *_less(batch, sizes, scale), batch.n)
    statement = "There is a critical batch above the smallest rollout tried"
    found.append(above(statement, inside, 0.0, "log ratio to the smallest", "cart-pole", keys))
    return Findings(_answer(batch, found), tuple(found), _notes(scale, results))


def _notes(scale: str, results: Results) -> tuple[str, ...]:
    """Sizes whose best rate is the smallest or the largest that was tried."""
    sizes, rates, _, _ = setting(scale)
    with np.errstate(invalid="ignore"):
        best = np.median(_table(scale, results), axis=2).argmin(1)
    edge = [str(n * task(1, scale).horizon) for n, j in zip(sizes, best, strict=True) if j in (0, len(rates) - 1)]
    return (f"The best rate lies at the edge of the three for rollouts of {', '.join(edge)}.",) if edge else ()


def _less(batch: Effect, sizes: tuple[int, ...], scale: str) -> tuple[float, float]:
    least = math.log(sizes[0] * task(1, scale).horizon)
    return batch.low - least, batch.high - least


def _answer(batch: Effect, found: list[Any]) -> str:
    if not math.isfinite(batch.value):
        return "Too few sizes reached the target, so that no critical batch can be told."
    size = f"{math.exp(batch.value):.0f} steps of the world ({math.exp(batch.low):.0f} to {math.exp(batch.high):.0f})"
    told = [
        f"{math.exp(f.effect):.2g} times the noise scale of the {name}"
        if math.isfinite(f.effect)
        else f"and the noise scale of the {name} cannot be told from these runs"
        for f, name in zip(found, ("actor", "critic"), strict=False)
    ]
    return f"The critical rollout is {size}: {', '.join(told)}."


def figures(scale: str, results: Results) -> list[Any]:
    """Rollouts to the target against the size, and the numbers."""
    sizes, rates, seeds, target = setting(scale)
    table, horizon = _table(scale, results), task(1, scale).horizon
    with np.errstate(invalid="ignore"):
        middle = np.median(table, axis=2)
    best = middle.argmin(1)
    x = [n * horizon for n in sizes]
    y = [float(middle[i, best[i]]) for i in range(len(sizes))]
    ok = [i for i in range(len(sizes)) if math.isfinite(y[i])]
    batch, _ = critical(scale, results)
    drawn = [Curve("measured", [x[i] for i in ok], [y[i] for i in ok], style="points")]
    if math.isfinite(batch.value) and ok:
        shape = 1 + math.exp(batch.value) / np.array([x[i] for i in ok])
        level = math.exp(float(np.mean(np.log([y[i] for i in ok]) - np.log(shape))))
        drawn.append(Curve("S = S_min (1 + B_c / B)", [x[i] for i in ok], (level * shape).tolist()))
    caption = (
        f"Rollouts until the mean return of 100 episodes is {target:g}; median of {seeds} seeds, at the best rate."
    )
    keys = tuple(results.key(r) for r in runs(scale, results))
    figure = Figure(
        "Rollouts to the target against their size",
        caption,
        "steps of the world in a rollout",
        "rollouts",
        tuple(drawn),
        x_scale="log",
        y_scale="log",
        keys=keys,
    )
    rows = [
        (x[i], rates[best[i]], y[i], y[i] * x[i], int(np.isinf(table[i, best[i]]).sum())) for i in range(len(sizes))
    ]
    head = ("rollout", "best rate", "rollouts to target", "steps of the world", "never got there")
    return [figure, Table("Every size", caption, head, tuple(rows), keys=keys)]
