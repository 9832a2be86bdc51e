"""Expected smoothness: the second moment of the gradient is bounded by how far the loss is above its least."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine.point import Point
from adamantine.probes.gradient_sample import moments, sample


@dataclass(frozen=True)
class ExpectedSmoothness:
    """`A = E |g|^2 / (2 (f - floor))` of single examples: the least `A` that the inequality allows with `B = C = 0`.

    One point tells no three constants; over training, `A`, `B` and `C` make a plane above all points, which
    `adamantine.checking.envelope` fits with the help of `scales`. `floor` stands for the least loss. A negative number
    says that the loss here lies below the floor.
    """

    floor: float = 0.0
    batches: int = 4
    statement: ClassVar[str] = "E |g|_2^2 <= 2 A (f - f*) + B |grad f|_2^2 + C"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "arXiv:2002.03329"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "A rotation leaves it as it is: it cannot tell one basis from another."
    refuted: ClassVar[str] = "It grows along training as 1 / (f - f*): the noise does not fall with the loss."
    means: ClassVar[str] = (
        "Where it holds with C = 0, no falling rate is needed; otherwise C sets the noise floor of a constant one."
    )

    def __post_init__(self) -> None:
        """Refuse too few."""
        if self.batches < 2:
            raise ValueError(
                f"ExpectedSmoothness: batches = {self.batches} must be at least 2, to differ from one another."
            )

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"each_norm": 1, "grad": self.batches, "loss": self.batches + 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`expected_smoothness` and its error."""
        found, above = moments(sample(p, self.batches).whole()), float(p.loss) - self.floor
        if not above:
            return {"expected_smoothness": math.nan, "expected_smoothness_error": math.nan}
        value = float(found.variance + found.square) / (2 * above)
        return {"expected_smoothness": value, "expected_smoothness_error": float(found.variance_error) / abs(2 * above)}

    def scales(self, p: Point) -> dict[str, float]:
        """What `A` and `B` multiply; the squared gradient without bias, and not below zero."""
        square = float(moments(sample(p, self.batches).whole()).square)
        return {"2 (f - floor)": 2 * (float(p.loss) - self.floor), "|grad f|^2": max(square, 0.0)}

    def on_examples(self, p: Point, g: Tensor) -> dict[str, float]:
        """From the gradients of all examples, `[B, d]`."""
        n = len(g)
        second = float(g.var(0).sum()) * (1 - 1 / n) + float(g.mean(0).square().sum())
        return {"expected_smoothness": second / (2 * (float(p.loss) - self.floor))}
