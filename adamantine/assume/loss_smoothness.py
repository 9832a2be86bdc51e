"""(H0, H1)-smoothness: curvature that grows with the loss above its least value."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.lanczos import lanczos
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class LossSmoothness:
    """`|H|_2 / (f - floor)` at this point: the least `H1` that `|H| <= H0 + H1 (f - f*)` allows with `H0 = 0`.

    `floor` stands for the least loss `f*`: zero for most losses; the entropy of the data where it is known. A negative
    number says that the loss here lies below the floor. By Lanczos, as `Smoothness`.
    """

    floor: float = 0.0
    products: int = 20
    statement: ClassVar[str] = "|H|_2 <= H0 + H1 (f - f*)"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "arXiv:2505.05410, arXiv:2605.30648"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "A rotation leaves it as it is: it cannot tell one basis from another."
    refuted: ClassVar[str] = "The ratio grows along training as 1 / (f - f*): curvature does not fall with the loss."
    means: ClassVar[str] = (
        "Rates may grow as the loss falls: warmup follows where curvature is large only at the start."
    )

    def __post_init__(self) -> None:
        """Refuse too few."""
        if self.products < 1:
            raise ValueError(f"LossSmoothness: products = {self.products} must be at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.products, "loss": 1, "grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`loss_smoothness` and its error."""
        found, above = lanczos(hessian(p), self.products, p.rng("lanczos")), float(p.loss) - self.floor
        i = int(found.values.abs().argmax())
        value, error = abs(float(found.values[i])), float(found.errors[i])
        if not above:
            return {"loss_smoothness": math.nan, "loss_smoothness_error": math.nan}
        return {"loss_smoothness": value / above, "loss_smoothness_error": error / abs(above)}

    def scales(self, p: Point) -> dict[str, float]:
        """What `H1` multiplies."""
        return {"f - floor": float(p.loss) - self.floor}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The spectral norm over the loss."""
        return {"loss_smoothness": float(torch.linalg.eigvalsh(h).abs().max()) / (float(p.loss) - self.floor)}
