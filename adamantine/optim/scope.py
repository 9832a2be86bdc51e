"""What a rotation acts on: all coordinates as one vector, each tensor, each row, or each column (2410.19964)."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from adamantine.tree import Params, flat, like

Scope = Literal["all", "layer", "row", "column"]

# What conjugation by a rotation of each scope maps to itself: every group that contains the rotation. The
# rotation of rows is one matrix for all rows of a tensor, so that it is a left-right rotation too; for
# tensors below two axes the left-right group is trivial, and any conjugation keeps it.
NORMALIZES: dict[str, frozenset[str]] = {
    "all": frozenset({"rotation"}),
    "layer": frozenset({"layer rotation", "rotation"}),
    "row": frozenset({"row rotation", "left-right rotation", "layer rotation", "rotation"}),
    "column": frozenset({"column rotation", "left-right rotation", "layer rotation", "rotation"}),
}


def along(scope: Scope, a: Params, turn: Callable[[Tensor], Tensor]) -> Params:
    """Apply `turn`, which maps vectors stacked as `[n, d]` to `[n, d]`, to the vectors that `scope` names.

    `"all"` is one vector in all; `"layer"` one vector a tensor; `"row"` the rows of `x.flatten(1)`, `"column"`
    its columns. A tensor below two axes is a single vector in every scope.
    """
    if not a:
        return a
    if scope == "all":
        return like(turn(flat(a)[None])[0], a)
    return {k: _turned(scope, x, turn) for k, x in a.items()}


def _turned(scope: Scope, x: Tensor, turn: Callable[[Tensor], Tensor]) -> Tensor:
    if scope == "layer" or x.ndim < 2:
        return turn(x.reshape(1, -1)).reshape(x.shape)
    if scope == "row":
        return turn(x.flatten(1)).reshape(x.shape)
    return turn(x.flatten(1).T).T.contiguous().reshape(x.shape)
