"""The Polyak-Lojasiewicz condition: no stationary point above the least loss."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine.point import Point
from adamantine.probes.gradient_sample import moments, sample


@dataclass(frozen=True)
class PolyakLojasiewicz:
    """`mu = |G|^2 / (2 (f - floor))` here: the constant of the condition is its least value over training.

    `|G|^2` is without bias for the expected gradient (a batch's own square exceeds it by the noise), and may be
    negative where it is not detectable. `floor` stands for the least loss: the constant falls to zero at it only if the
    floor is right. The error is an upper bound of one standard error.
    """

    floor: float = 0.0
    batches: int = 4
    statement: ClassVar[str] = "2 mu (f - f*) <= |grad f|_2^2"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "Polyak (1963); arXiv:1608.04636"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "A rotation leaves it as it is: it cannot tell one basis from another."
    refuted: ClassVar[str] = (
        "It falls along training to where it cannot be told from zero while the loss is far above its least."
    )
    means: ClassVar[str] = "Where it stays above zero, gradient descent converges linearly, at mu / L a step."

    def __post_init__(self) -> None:
        """Refuse too few."""
        if self.batches < 2:
            raise ValueError(
                f"PolyakLojasiewicz: batches = {self.batches} must be at least 2, to differ from one another."
            )

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"each_norm": 1, "grad": self.batches, "loss": self.batches + 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`polyak_lojasiewicz` and its error."""
        found, above = moments(sample(p, self.batches).whole()), float(p.loss) - self.floor
        if not above:
            return {"polyak_lojasiewicz": math.nan, "polyak_lojasiewicz_error": math.nan}
        value, error = float(found.square) / (2 * above), float(found.square_error) / abs(2 * above)
        return {"polyak_lojasiewicz": value, "polyak_lojasiewicz_error": error}

    def on_examples(self, p: Point, g: Tensor) -> dict[str, float]:
        """From the gradients of all examples, `[B, d]`."""
        square = float(g.mean(0).square().sum() - g.var(0).sum() / len(g))
        return {"polyak_lojasiewicz": square / (2 * (float(p.loss) - self.floor))}
