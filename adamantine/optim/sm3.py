"""SM3: Adagrad with one accumulator for every slice of a tensor (Anil et al., arXiv:1901.11150)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params


def _along(x: Tensor, axis: int) -> tuple[int, ...]:
    """The axes of `x` other than `axis`."""
    return tuple(i for i in range(x.ndim) if i != axis)


def _least(slices: tuple[Tensor, ...]) -> Tensor:
    """Of the accumulators that cover a coordinate the smallest, broadcast over the tensor."""
    out = slices[0]
    for x in slices[1:]:
        out = torch.minimum(out, x)
    return out


@dataclass(frozen=True)
class Sm3(Part):
    """`u / sqrt(v)`, with `v = g^2 +` the least of the accumulators of the slices that a coordinate lies in (SM3-II).

    Every index along every axis is a slice; its accumulator becomes the largest `v` in it. A vector has one for every
    coordinate, which is Adagrad. Where all gradients were zero, so is the direction. Permutations along an axis commute
    with it, but none of the named groups does.
    """

    symmetry: ClassVar[str] = "none"

    def init(self, w: Params) -> State:
        """Zero for every slice, each axis in a shape that broadcasts against the tensor."""
        return {k: tuple(x.new_zeros(_shape(x, i)) for i in range(max(x.ndim, 1))) for k, x in w.items()}

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The scaled direction."""
        v = {k: _least(s[k]) + p.grad[k].square() for k in u}
        out = {k: torch.where(v[k] > 0, x * v[k].rsqrt(), 0.0) for k, x in u.items()}
        new = {k: tuple(_largest(x, i) for i in range(max(x.ndim, 1))) for k, x in v.items()}
        return out, new

    def response(self, s: State, p: Point) -> Response:
        """One over the root of the least accumulators, short of the one square that the next step adds."""
        return response(p.w, {k: _least(x).clamp_min(torch.finfo(p.w[k].dtype).tiny).rsqrt() for k, x in s.items()})

    def state_bytes(self, w: Params) -> int:
        """One number a slice."""
        return sum(sum(x.shape or (1,)) * x.element_size() for x in w.values())


def _shape(x: Tensor, axis: int) -> tuple[int, ...]:
    return tuple(n if i == axis else 1 for i, n in enumerate(x.shape))


def _largest(v: Tensor, axis: int) -> Tensor:
    return v.amax(_along(v, axis), keepdim=True) if v.ndim > 1 else v


def sm3(lr: float = 0.1, beta: float = 0.9, schedule: Schedule = Constant()) -> Part:
    """`Sm3 >> Ema >> Lr` (arXiv:1901.11150, SM3-II, with momentum on the scaled gradient, as in the authors' code).

    The accumulators only grow, as Adagrad's, so that the step falls by itself and rates are larger than Adam's.
    """
    return Sm3() >> Ema(beta, debias=False) >> Lr(lr, schedule)
