"""Matrices seen from both sides: `G -> L' G R` with an orthogonal matrix on each side of each tensor."""

from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.part import Part
from adamantine.symmetry import holds
from adamantine.tree import Params


@dataclass(frozen=True)
class TwoSided:
    """The basis `x.flatten(1) -> left' x right`, with matrices by name; a side that is missing is not turned."""

    left: Params
    right: Params

    @property
    def normalizes(self) -> frozenset[str]:
        """Nothing is promised that does not hold for all left-right rotations."""
        return frozenset({"left-right rotation", "layer rotation", "rotation"})

    def forth(self, a: Params) -> Params:
        """`left' x right`."""
        return {k: self._turn(k, x, True) for k, x in a.items()}

    def back(self, a: Params) -> Params:
        """`left x right'`."""
        return {k: self._turn(k, x, False) for k, x in a.items()}

    def _turn(self, k: str, x: Tensor, forth: bool) -> Tensor:
        if k not in self.left and k not in self.right:
            return x
        y = x.flatten(1)
        if k in self.left:
            y = (self.left[k].T if forth else self.left[k]) @ y
        if k in self.right:
            y = y @ (self.right[k] if forth else self.right[k].T)
        return y.reshape(x.shape)


def sides(w: Params, max_side: int) -> tuple[dict[str, int], dict[str, int]]:
    """Lengths of the left and right sides that are turned: of tensors with two axes or more, up to `max_side`."""
    matrices = {k: x for k, x in w.items() if x.ndim >= 2}
    left = {k: x.shape[0] for k, x in matrices.items() if x.shape[0] <= max_side}
    right = {k: x[0].numel() for k, x in matrices.items() if x[0].numel() <= max_side}
    return left, right


def eyes(w: Params, lengths: dict[str, int]) -> Params:
    """An identity matrix for every side."""
    return {k: torch.eye(n, dtype=w[k].dtype, device=w[k].device) for k, n in lengths.items()}


def square_bytes(w: Params, max_side: int) -> int:
    """Bytes of one square matrix for every side that is turned."""
    return sum(n * n * w[k].element_size() for side in sides(w, max_side) for k, n in side.items())


def aligned(new: Tensor, old: Tensor) -> Tensor:
    """Signs, one a column, that make each column of `new` point along the same column of `old`."""
    return torch.where((new * old).sum(0) < 0, -1.0, 1.0).to(new.dtype)


def unchanged(old: tuple[Params, Params], new: tuple[Params, Params]) -> bool:
    """Whether the same matrices stand on both sides, by identity."""
    return all(q is before[k] for before, after in zip(old, new, strict=True) for k, q in after.items())


def paired(*sides: Params) -> Params:
    """Several dicts by tensor as one, keys numbered by where they come from."""
    return {f"{i}/{k}": x for i, side in enumerate(sides) for k, x in side.items()}


def unpaired(a: Params, *sides: Params) -> tuple[Params, ...]:
    """Inverse of `paired`, given dicts with the same keys."""
    return tuple({k: a[f"{i}/{k}"] for k in side} for i, side in enumerate(sides))


def symmetry_in(inner: Part) -> str:
    """The symmetry of `inner` in a basis that turns with the matrices and is fixed up to signs.

    An inner part that commutes with left-right rotations does not notice the basis and keeps its own symmetry. Every
    named group contains the flips of whole rows and columns, so for the rest any symmetry will do.
    """
    held = holds(inner.symmetry)
    if "left-right rotation" in held:
        return inner.symmetry
    return "left-right rotation" if held else "none"
