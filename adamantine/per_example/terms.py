"""What one use of a parameter adds to the gradient of every example, kept in factors until somebody asks."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.per_example.layout import Layout

UNFOLDED = 1 << 20  # multiplications an example below which a convolution is cheaper as a matrix product


class Term(Protocol):
    """A gradient of every example, `[B, *shape]`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example's gradient."""
        ...

    def each(self, part: slice) -> Tensor:
        """The gradients of some examples, `[b, *shape]`."""
        ...

    def total(self) -> Tensor:
        """Their sum over all examples, `shape`."""
        ...


@dataclass(frozen=True, eq=False)
class Outer:
    """`sum over t of rows[b, t] cols[b, t]'`, from `rows [B, T, m]` and `cols [B, T, n]`, `m n` numbers as `shape`."""

    rows: Tensor
    cols: Tensor
    shape: tuple[int, ...]

    def each(self, part: slice) -> Tensor:
        """By a product of matrices."""
        rows, cols = self.rows[part], self.cols[part]
        single = rows.shape[1] == 1
        out = rows.transpose(1, 2) * cols if single else torch.bmm(rows.transpose(1, 2), cols)
        return out.reshape(-1, *self.shape)

    def total(self) -> Tensor:
        """One product of matrices."""
        return (self.rows.flatten(0, 1).T @ self.cols.flatten(0, 1)).reshape(self.shape)

    def turned(self) -> "Outer":
        """The transposed matrix."""
        return Outer(self.cols, self.rows, self.shape[::-1])


@dataclass(frozen=True, eq=False)
class Lookup:
    """`cols[b, t]`, `[B, T, d]`, added to row `ids[b, t]`, `[B, T]`, of a table of `shape` `[V, d]`."""

    ids: Tensor
    cols: Tensor
    shape: tuple[int, ...]

    def each(self, part: slice) -> Tensor:
        """By adding rows."""
        ids, cols = self.ids[part], self.cols[part]
        out = cols.new_zeros(len(ids) * self.shape[0], cols.shape[2])
        start = torch.arange(len(ids), device=ids.device)[:, None] * self.shape[0]
        out.index_add_(0, (ids + start).flatten(), cols.flatten(0, 1))
        return out.view(-1, *self.shape)

    def total(self) -> Tensor:
        """By adding rows."""
        out = self.cols.new_zeros(self.shape[0], self.cols.shape[2])
        return out.index_add_(0, self.ids.flatten(), self.cols.flatten(0, 1)).view(self.shape)


@dataclass(frozen=True, eq=False)
class Dense:
    """The gradients themselves, `[B, *shape]`."""

    grads: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example's gradient."""
        return tuple(self.grads.shape[1:])

    def each(self, part: slice) -> Tensor:
        """As they are."""
        return self.grads[part]

    def total(self) -> Tensor:
        """A sum."""
        return self.grads.sum(0)


@dataclass(frozen=True, eq=False)
class Own:
    """Of a tensor in which every example has entries of its own, as `layout` says: those of the gradient `grads`."""

    grads: Tensor
    layout: Layout

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's."""
        return tuple(self.grads.shape)

    def each(self, part: slice) -> Tensor:
        """Zero outside the example's entries."""
        mine = torch.eye(self.layout.examples, dtype=self.grads.dtype, device=self.grads.device)[part]
        return torch.stack([self.grads * self.layout.spread(x, self.grads) for x in mine])

    def total(self) -> Tensor:
        """All entries."""
        return self.grads


@dataclass(frozen=True, eq=False)
class Filters:
    """Of the weight of a convolution: inputs `x [B, R, C, ...]`, gradients `d [B, R, C', ...]` of its outputs.

    `options` are stride, padding, dilation, transposed, output padding and groups, as torch's own backward takes
    them, which is called for every example in turn: it copies no patches. Small ones are unfolded into patches.
    """

    x: Tensor
    d: Tensor
    weight: Tensor
    options: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's."""
        return tuple(self.weight.shape)

    def each(self, part: slice) -> Tensor:
        """By torch's own kernels."""
        x, d = self.x[part], self.d[part]
        stride, padding, dilation, transposed, _, groups = self.options
        work = self.weight.numel() * d[0].numel() // max(1, d.shape[2])
        if self.weight.ndim == 4 and groups == 1 and not transposed and work < UNFOLDED and x.shape[1] == 1:
            patches = F.unfold(x[:, 0], self.weight.shape[2:], dilation, padding, stride)
            return (d[:, 0].flatten(2) @ patches.transpose(1, 2)).view(-1, *self.shape)
        return torch.stack([self._gradient(a, b) for a, b in zip(x, d, strict=True)])

    def total(self) -> Tensor:
        """By one call of torch's own kernel."""
        return self._gradient(self.x.flatten(0, 1), self.d.flatten(0, 1))

    def _gradient(self, x: Tensor, d: Tensor) -> Tensor:
        backward = torch.ops.aten.convolution_backward
        return backward(d, x, self.weight, None, *self.options, [False, True, False])[1]
