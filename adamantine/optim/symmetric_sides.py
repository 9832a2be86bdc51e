"""The eigenbasis of `u -> A u B` with a symmetric positive matrix, or its diagonal, on each side."""

from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.optim.two_sided import TwoSided
from adamantine.response import Response, response
from adamantine.tree import Params


@dataclass(frozen=True)
class Columns:
    """Every vector as a matrix of one column in `inner`."""

    inner: TwoSided

    @property
    def normalizes(self) -> frozenset[str]:
        """As the inner basis."""
        return self.inner.normalizes

    def forth(self, a: Params) -> Params:
        """Into the basis."""
        turned = self.inner.forth({k: _matrix(x) for k, x in a.items()})
        return {k: x.reshape(a[k].shape) for k, x in turned.items()}

    def back(self, a: Params) -> Params:
        """Out of it."""
        turned = self.inner.back({k: _matrix(x) for k, x in a.items()})
        return {k: x.reshape(a[k].shape) for k, x in turned.items()}


def between(left: Params, right: Params, w: Params) -> Response:
    """The response of `u -> A u B`, `A` in `left` and `B` in `right` by name: matrices, diagonals, or missing."""
    scale: Params = {k: torch.ones_like(_matrix(x)) for k, x in w.items()}
    turns: tuple[Params, Params] = ({}, {})
    for axis, side in enumerate((left, right)):
        for k in scale.keys() & side.keys():
            a = side[k].to(scale[k])
            if a.ndim == 2:
                values, turns[axis][k] = torch.linalg.eigh(a)
                values = values.clamp_min(0)  # what round-off leaves below
            else:
                values = a
            scale[k] = scale[k] * (values[:, None] if axis == 0 else values)
    return response(w, {k: x.reshape(w[k].shape) for k, x in scale.items()}, basis=Columns(TwoSided(*turns)))


def _matrix(x: Tensor) -> Tensor:
    return x.flatten(1) if x.ndim > 1 else x.reshape(-1, 1)
