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

    def product(v: Tensor) -> Tensor:
        x = tree.like(v, p.w)
        if around is None:
            return tree.flat(p.hvp(x))
        return tree.flat(around(p.hvp(around(x))))

    return Operator(product, tree.size(p.w), _like(p.w))


def gauss_newton(p: Point) -> Operator:
    """The generalized Gauss-Newton matrix at `p`, on flat vectors."""
    return Operator(lambda v: tree.flat(p.ggn_vp(tree.like(v, p.w))), tree.size(p.w), _like(p.w))


def _like(w: Params) -> Tensor:
    """No numbers, of the type that all weights have in common and on their device."""
    kinds = {x.dtype for x in w.values()}
    dtype = functools.reduce(torch.promote_types, kinds)
    return next(iter(w.values())).new_empty(0, dtype=dtype)
