"""AdaGrad with one number for all coordinates (Ward et al., arXiv:1806.01811)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine import tree
from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params


@dataclass(frozen=True)
class AdagradNorm(Part):
    """`u / b_t`, `b_t^2 = first^2 + sum_s |u_s|_2^2` over all steps and coordinates: the step only ever shrinks.

    Its rate needs no smoothness to be known: while the rate is too large, gradients grow `b` until it is not.
    """

    first: float = 0.1
    symmetry: ClassVar[str] = "rotation"
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.positive(self, first=self.first)

    def init(self, w: Params) -> State:
        """`b^2 = first^2`."""
        like = next(iter(w.values()), torch.zeros(()))
        return like.new_tensor(self.first**2)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The direction over `b`, this step's included."""
        s = s + tree.norm(u).square().to(s)
        return {k: x / s.sqrt() for k, x in u.items()}, s

    def response(self, s: State, p: Point) -> Response:
        """One over `b`."""
        return response(p.w, float(s) ** -0.5)

    def state_bytes(self, w: Params) -> int:
        """One number."""
        return next(iter(w.values()), torch.zeros(())).element_size()
