"""Steps by what they do to predictions (Sharifnassab et al., arXiv:2604.19033; normalized least mean squares)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.optim import limits
from adamantine.optim.predictions import errors, moved
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class ErrorFraction(Part):
    """`c u` that takes away the given fraction of the error, as far as `u` can: `c = fraction <d, a> / <a, a>`.

    `d` are the errors (target less prediction) of the batch and `a = -J u` how the predictions move per unit of `u`, by
    two backward passes. A single error shrinks by exactly the fraction where predictions are linear; of a batch it is
    this fraction of the way to the least squared error along `u`. A direction that would enlarge the error is not
    taken, nor one that moves nothing. The length of `u` does not matter: last in a chain, for the tensors of a critic
    or a regressor, and instead of a rate. Where a task has no `values` and `errors`, the losses are the errors, and one
    example takes Polyak's step.
    """

    fraction: float = 0.5
    gradients: ClassVar[int] = 1
    symmetry: ClassVar[str] = "rotation"
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.positive(self, fraction=self.fraction)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The scaled direction."""
        along_u, left = -moved(p, u), errors(p)
        square, along = along_u.square().sum(), (left * along_u).sum().clamp_min(0.0)
        size = self.fraction * torch.where(square > 0, along / torch.where(square > 0, square, 1.0), 0.0)
        return {k: x * size for k, x in u.items()}, s
