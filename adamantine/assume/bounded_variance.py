"""Bounded variance of the gradient: the assumption of most theorems on stochastic gradient descent."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine.point import Point
from adamantine.probes.gradient_sample import moments, sample


@dataclass(frozen=True)
class BoundedVariance:
    """`tr Sigma`, the variance of the gradient of a single example, without bias from the examples of this batch.

    The constant of the assumption is its largest value over training. See the probe `NoiseScale` for how it is found
    where the loss does not split by example; the error is an upper bound of one standard error.
    """

    batches: int = 4
    statement: ClassVar[str] = "E |g - grad f|_2^2 <= sigma^2"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "Robbins & Monro (1951); arXiv:1812.06162"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "A rotation leaves it as it is: it cannot tell one basis from another."
    refuted: ClassVar[str] = "It grows without bound, or in proportion to |grad f|^2, along training."
    means: ClassVar[str] = (
        "Sets the batch size and how far the rate must fall in the end; it cannot tell Adam from SGD."
    )

    def __post_init__(self) -> None:
        """Refuse too few."""
        if self.batches < 2:
            raise ValueError(
                f"BoundedVariance: batches = {self.batches} must be at least 2, to differ from one another."
            )

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"each_norm": 1, "grad": self.batches, "loss": self.batches}

    def __call__(self, p: Point) -> dict[str, float]:
        """`gradient_variance` and its error."""
        found = moments(sample(p, self.batches).whole())
        return {"gradient_variance": float(found.variance), "gradient_variance_error": float(found.variance_error)}

    def on_examples(self, p: Point, g: Tensor) -> dict[str, float]:
        """From the gradients of all examples, `[B, d]`."""
        return {"gradient_variance": float(g.var(0).sum())}
