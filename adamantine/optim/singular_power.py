"""Updates with forced singular values: from as they are to all equal, in one basis and at one length."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class SingularPower(Part):
    """`U S^power V'` of each matrix `U S V'`, scaled to its Frobenius norm; vectors, and tensors of zeros, stay.

    1 leaves it alone, 0 is the polar factor, at the length that the update had: what orthogonality does by itself,
    apart from step sizes. Tensors of more than two axes are taken as `x.flatten(1)`. A decomposition a step: for small
    networks. With 0, directions below rounding stay zero. Used to test arXiv:2410.19964 by intervention.
    """

    power: float = 0.5
    symmetry: ClassVar[str] = "left-right rotation"

    def __post_init__(self) -> None:
        if not 0 <= self.power <= 1:
            raise ValueError(f"SingularPower: power = {self.power!r} must lie between 0 and 1.")

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The update with the singular values forced."""
        return {k: self._forced(x) if x.ndim > 1 else x for k, x in u.items()}, s

    def _forced(self, x: Tensor) -> Tensor:
        length = x.norm()
        if not bool(length.isfinite() & (length > 0)):
            return x
        left, values, right = torch.linalg.svd(x.flatten(1), full_matrices=False)
        kept = values > torch.finfo(x.dtype).eps * max(x.flatten(1).shape) * values[0]
        forced = torch.where(kept, (values / values[0]).clamp_min(torch.finfo(x.dtype).tiny) ** self.power, 0.0)
        y = ((left * forced) @ right).reshape(x.shape)
        return y * (length / y.norm())
