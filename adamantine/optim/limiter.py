"""The norm-growth limiter of Fira (Chen et al., arXiv:2410.01623), kept by APOLLO."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params


def limited(x: Tensor, before: Tensor, growth: float) -> tuple[Tensor, Tensor]:
    """`x` cut to `growth` times the norm `before`, and its new norm; the authors' 1e-8 beside `before` is kept.

    After a norm of zero, as at the first step, nothing is cut: growth from zero would never end.
    """
    norm = torch.linalg.vector_norm(x)
    factor = torch.where(before > 0, (norm / (before + 1e-8)).clamp_min(growth) / growth, torch.ones_like(norm))
    return x / factor, norm / factor


@dataclass(frozen=True)
class LimitGrowth(Part):
    """Let the norm of each tensor's direction grow by at most the factor `growth` from step to step."""

    growth: float = 1.01
    symmetry: ClassVar[str] = "layer rotation"

    def __post_init__(self) -> None:
        limits.positive(self, growth=self.growth)

    def init(self, w: Params) -> State:
        """Norms, zero."""
        return {k: x.new_zeros(()) for k, x in w.items()}

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`u / max(1, |u| / (growth |u before|))`."""
        pairs = {k: limited(x, s[k], self.growth) for k, x in u.items()}
        return {k: x for k, (x, _) in pairs.items()}, {k: n for k, (_, n) in pairs.items()}

    def response(self, s: State, p: Point) -> Response:
        """The factor of this step, held still."""
        norms = {k: torch.linalg.vector_norm(p.grad[k]) for k in p.w}
        return response(p.w, {k: torch.where(x > 0, s[k] / x, 1.0) for k, x in norms.items()})

    def state_bytes(self, w: Params) -> int:
        """One number a tensor."""
        return sum(x.element_size() for x in w.values())
