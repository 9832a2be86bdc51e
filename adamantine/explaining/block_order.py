"""Quadratics whose eigenvalues are sorted into blocks or dealt across them, and the arms that are tried on them."""

from functools import partial
from typing import Any

from adamantine.comparison import Arm, Comparison
from adamantine.optim.adam import adam
from adamantine.optim.basis import InBasis
from adamantine.optim.lr import Lr
from adamantine.optim.rotations import BlockHaar
from adamantine.optim.schedule import Cosine
from adamantine.part import Part
from adamantine.tasks.quadratic import Quadratic

ADAM, DESCENT = "Adam", "gradient descent"
LEAST = 1e-10  # below which a loss is taken for solved
BLOCKS = {
    "heterogeneous": (1.0, 2.0, 3.0, 99.0, 100.0, 101.0, 4998.0, 4999.0, 5000.0),
    "homogeneous": (1.0, 99.0, 4998.0, 2.0, 100.0, 4999.0, 3.0, 101.0, 5000.0),
}


def _adam(beta1: float, rate: float, seed: int) -> Part:
    """In coordinates turned inside the rows, which are the blocks: as if the quadratic had been turned."""
    return InBasis(adam(rate, beta1, 0.99, schedule=Cosine(0.0)), BlockHaar("row", seed=seed))


def _descent(rate: float, seed: int) -> Part:
    return Lr(rate)


def quadratics(scale: str) -> list[Comparison]:
    """Sorted and dealt eigenvalues."""
    steps, seeds = {"tiny": (60, 4), "laptop": (400, 10), "gpu": (2000, 30)}[scale]
    widen = 0 if scale == "tiny" else 5
    arms = (Arm(ADAM, partial(_adam, 0.0), (0.01, 0.1, 1.0)), Arm(DESCENT, _descent, (1e-4, 2e-4, 4e-4)))
    setting: dict[str, Any] = {"seeds": seeds, "tuning_seeds": 3, "widen": widen, "every": steps}
    return [Comparison(k, Quadratic(x, matrix=(3, 3)), arms, steps, **setting) for k, x in BLOCKS.items()]
