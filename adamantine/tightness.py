"""A theorem beside runs: constants measured along them, the bound from these, and what happened.

Where steps see some of the examples only, all is told of all of them, and the batches' noise beside.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from adamantine.comparison import Arm, Comparison
from adamantine.optim.steepest import Norm
from adamantine.probes.gradient_norms import GradientNorms
from adamantine.result import Result, Results
from adamantine.run import Run
from adamantine.whole import BatchNoise

BETA1, BETA2, EPS, FIRST = 0.9, 0.99, 1e-8, 0.1
GROWN = 2.0
# Of each norm: the arm, the measured constant of smoothness, and the dual norm of the gradient.
NORMS: dict[Norm, tuple[str, str, str]] = {
    "euclidean": ("normalized descent", "smoothness", "gradient_l2"),
    "blocks": ("descent by tensors", "blockwise_smoothness", "gradient_blocks"),
    "maximum": ("sign descent", "max_norm_smoothness", "gradient_l1"),
    "spectral": ("spectral descent", "spectral_smoothness", "gradient_nuclear"),
}


@dataclass(frozen=True)
class Theorem:
    """A guarantee, the arm whose runs it speaks of, and the constant whose growth would undo it."""

    name: str
    arm: str
    bound: Any
    constant: str


def paths(c: Comparison, arm: Arm, results: Results) -> list[Run]:
    """The arm's reporting runs with gradient and loss at every step: means of sparse rows are not those in bounds."""
    probe = BatchNoise() if noisy(c) else GradientNorms()
    return [replace(r, every=1, score_every=0, probes=(probe,)) for r in c.reporting(arm, results)]


def noisy(c: Comparison) -> bool:
    """Whether a step sees some of a fixed set of examples only."""
    return bool(getattr(c.task, "at_once", 0))


def found(c: Comparison, name: str, results: Results) -> list[tuple[Result, Result]]:
    """Of every seed the reporting run of the arm and the same path step by step."""
    whole = [results.get(r) for r in paths(c, c.arm(name), results)]
    return [(r, p) for r, p in zip(c.results(name, results), whole, strict=True) if p is not None]


def constants(c: Comparison, r: Result, path: Result, rate: float, until: float = math.inf) -> dict[str, float]:
    """What theorems ask for, measured along a run up to a step; the least loss is taken to be zero."""

    def seen(x: Result, name: str) -> np.ndarray:
        steps, values = x.series(name)
        return values[steps <= until]

    losses, steep = seen(path, "whole_loss" if noisy(c) else "loss"), seen(path, "gradient_l2")
    out = {key: float(np.max(seen(r, key))) for _, key, _ in NORMS.values()}
    out |= {"rate": rate, "steps": float(c.steps), "start": float(losses[0])}
    out |= {"beta1": BETA1, "beta2": BETA2, "eps": EPS, "b0": FIRST}
    out |= {"dimension": float(sum(x.numel() for x in c.task.init(torch.Generator()).values()))}
    out |= {"bounded_gradient": float(np.max(seen(path, "gradient_max")))}
    above = losses > 0  # a loss that rounding took to zero has reached what the theorem promises
    out |= {"polyak_lojasiewicz": float(np.min(steep[above] ** 2 / (2 * losses[above]), initial=math.inf))}
    # Of the lines above all pairs of gradient and curvature, the two through an axis; `e - 1` from points to steps.
    curved, slope = seen(r, "smoothness"), seen(r, "gradient_l2")
    growth = float(np.max(curved / slope)) if (slope > 0).all() else math.inf
    if noisy(c):
        out |= {k: float(np.max(seen(path, k))) for k in ("batch_variance", "batch_growth", "batch_noise_l1")}
    return out | {"l0": out["smoothness"], "l1": 0.0, "own l1": (math.e - 1) * growth}


def measured(c: Comparison, r: Result, path: Result, quantity: str) -> float:
    """What happened along one run, by the name of what theorems bound; means are over all steps."""
    named = {"mean_gradient_l1": "gradient_l1", "mean_gradient_nuclear": "gradient_nuclear"}
    if quantity == "suboptimality":
        return r.last(c.metric)
    x = path.series(named.get(quantity, "gradient_l2"))[1]
    if quantity == "weighted_squared_gradient":
        return float(np.average(x**2, weights=1 - BETA1 ** np.arange(len(x), 0, -1)))
    return float(np.mean(x**2 if quantity == "mean_squared_gradient" else x))


def bound(t: Theorem, known: dict[str, float]) -> float:
    """The theorem's; of the two pairs of constants of normalized descent the better one."""
    bounds = [t.bound(known)]
    if t.bound.assumes[:2] == ("l0", "l1"):
        bounds.append(t.bound({**known, "l0": 0.0, "l1": known["own l1"]}))
    return min(bounds)


def looseness(c: Comparison, t: Theorem, results: Results) -> list[float]:
    """Log of the bound over what happened, one a seed; infinite where the theorem says nothing of the rate in use."""
    rate, out = c.tuned(c.arm(t.arm), results).best, []
    for r, path in found(c, t.arm, results):
        if r.status != "done" or rate is None:
            out.append(math.inf)
            continue
        most, happened = bound(t, constants(c, r, path, rate)), measured(c, r, path, t.bound.bounds)
        out.append(math.log(most / happened) if happened > 0 and most > 0 else math.inf)
    return out


def outgrown(c: Comparison, t: Theorem, results: Results) -> list[float]:
    """The share of training after which the theorem's constant is twice that of the start; 1 where it never is."""
    out = []
    for r in c.results(t.arm, results):
        steps, x = r.series(t.constant)
        later = np.flatnonzero(x > GROWN * x[0])
        out.append(float(steps[later[0]]) / c.steps if len(later) else 1.0)
    return out


def silent(c: Comparison, t: Theorem, results: Results) -> list[float]:
    """The share of training after which the constants so far allow no rate as large as that in use; 1 if they do."""
    rate, out = c.tuned(c.arm(t.arm), results).best, []
    for r, path in found(c, t.arm, results):
        steps = [float(s) for s in r.series(t.constant)[0]]
        told = (s for s in steps if math.isinf(bound(t, constants(c, r, path, rate or math.nan, s))))
        out.append(next(told, float(c.steps)) / c.steps)
    return out
