"""A symmetric matrix that is known by its products only."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.tree import Params


@dataclass
class Operator:
    """`matrix @ v` for vectors of length `size`; `count` says how many products were made."""

    product: Callable[[Tensor], Tensor]
    size: int
    like: Tensor  # dtype and device of the vectors
    count: int = field(default=0)

    def __matmul__(self, v: Tensor) -> Tensor:
        """One product with `v`, `[size]`."""
        self.count += 1
        return self.product(v)

    def gaussian(self, rng: torch.Generator) -> Tensor:
        """A standard normal vector; drawn on the CPU, so that it does not depend on the device."""
        return torch.randn(self.size, generator=rng, dtype=self.like.dtype).to(self.like.device)

    def signs(self, rng: torch.Generator) -> Tensor:
        """A vector of independent random signs."""
        return (2 * torch.randint(2, (self.size,), generator=rng) - 1).to(self.like)


def hessian(p: Point, around: Callable[[Params], Params] | None = None) -> Operator:
    """The Hessian at `p`, on flat vectors; with `around`, `a H a` for a symmetric `a`, as a preconditioner's root."""
    return on_weights(p.w, p.hvp if around is None else lambda v: around(p.hvp(around(v))))


def gauss_newton(p: Point) -> Operator:
    """The generalized Gauss-Newton matrix at `p`, on flat vectors."""
    return on_weights(p.w, p.ggn_vp)


def on_weights(w: Params, product: Callable[[Params], Params]) -> Operator:
    """A product with directions in the space of `w`, on flat vectors."""
    dtype = functools.reduce(torch.promote_types, {x.dtype for x in w.values()})
    like = next(iter(w.values())).new_empty(0, dtype=dtype)
    return Operator(lambda v: tree.flat(product(tree.like(v, w))), tree.size(w), like)
