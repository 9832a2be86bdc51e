"""The two-layer scalar network `(a b - y)^2 / 2`: the least model with flat and sharp minima.

Catapults at large rates: Lewkowycz et al., arXiv:2003.02218.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.point import Draw
from adamantine.role import Tag, Tags
from adamantine.tree import Params


@dataclass(frozen=True)
class TwoLayerScalar:
    """`(a b - y - noise e)^2 / 2` with a standard normal label noise `e` for each example; starts at `start`.

    Raises ValueError where batch or noise is impossible.
    """

    y: float = 1.0
    noise: float = 0.0
    batch: int = 1
    start: tuple[float, float] = (2.0, 0.25)

    def __post_init__(self) -> None:
        """Refuse an impossible batch or noise."""
        if self.batch < 1 or self.noise < 0:
            raise ValueError("TwoLayerScalar: batch is at least 1, and noise not negative.")

    def hessian(self, a: float, b: float) -> Tensor:
        """`[2, 2]`, float64, without label noise."""
        return torch.tensor([[b * b, 2 * a * b - self.y], [2 * a * b - self.y, a * a]], dtype=torch.float64)

    def minimum(self) -> float:
        """Zero, wherever `a b = y`; label noise adds `noise^2 / 2` to the expected loss."""
        return 0.0

    def sharpness_at_minimum(self, a: float) -> float:
        """Largest eigenvalue of the Hessian at the minimum `(a, y / a)`: `a^2 + b^2`, at least `2 |y|`."""
        return a * a + (self.y / a) ** 2

    def conserved(self, a: float, b: float) -> float:
        """`a^2 - b^2`, which gradient flow conserves."""
        return a * a - b * b

    def init(self, rng: torch.Generator) -> Params:
        """`start`, whatever the seed."""
        return {"a": torch.tensor([self.start[0]]), "b": torch.tensor([self.start[1]])}

    def tags(self) -> Tags:
        """Two gains: each multiplies what the other gives."""
        return Tags((("a", Tag("gain")), ("b", Tag("gain"))))

    def source(self, rng: torch.Generator) -> Draw:
        """Batches of `e`, `[B]`."""
        return lambda w: torch.randn(self.batch, generator=rng)

    def losses(self, w: Params, batch: Tensor) -> Tensor:
        """`(a b - y - noise e)^2 / 2` of each example, `[B]`."""
        return self.outputs_and_losses(w, batch)[1]

    def outputs_and_losses(self, w: Params, batch: Tensor) -> tuple[Tensor, Tensor]:
        """`a b` and the losses."""
        product = w["a"] * w["b"]
        return product, 0.5 * (product - self.y - self.noise * batch).square()

    def score(self, w: Params) -> dict[str, float]:
        """`held_out`: the loss without label noise; `sharpness` of the point."""
        a, b = float(w["a"]), float(w["b"])
        top = float(torch.linalg.eigvalsh(self.hessian(a, b))[-1])
        return {"held_out": 0.5 * (a * b - self.y) ** 2, "sharpness": top}
