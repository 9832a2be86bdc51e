"""The logistic regression with heavy-tailed or with balanced classes, and the arms that are tried on it."""

from typing import Any

from adamantine.comparison import Arm, Comparison
from adamantine.optim.adam import adam
from adamantine.optim.sgd import sgd
from adamantine.optim.sign import signum
from adamantine.part import Part
from adamantine.tasks.logistic import HeavyTailedLogistic

ADAM, SGD, SIGN = "Adam", "SGD", "Signum"


def _adam(rate: float, seed: int) -> Part:
    return adam(rate)


def _descent(rate: float, seed: int) -> Part:
    return sgd(rate, 0.9)


def _sign(rate: float, seed: int) -> Part:
    return signum(rate)


def replicates(scale: str, balanced: bool) -> list[Comparison]:
    """The logistic regression on several draws of its data, each with its own tuning; every run is deterministic.

    All can be fitted, and after long are: what differs is the way there, so that training is short.
    """
    groups, steps, n = {"tiny": (3, 15, 3), "laptop": (6, 40, 6), "gpu": (9, 200, 10)}[scale]
    arms = (
        Arm(ADAM, _adam, (3e-3, 1e-2, 3e-2)), Arm(SGD, _descent, (0.3, 1.0, 3.0)), Arm(SIGN, _sign, (3e-4, 1e-3, 3e-3))
    )  # fmt: skip
    name = "balanced classes" if balanced else "heavy-tailed classes"
    setting: dict[str, Any] = {"seeds": 1, "tuning_seeds": 1, "widen": 0 if scale == "tiny" else 4}
    tasks = (HeavyTailedLogistic(groups, data_seed=seed, balanced=balanced) for seed in range(n))
    return [Comparison(name, t, arms, steps, points=10, every=steps, **setting) for t in tasks]
