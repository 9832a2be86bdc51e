"""Arithmetic on parameters: a point in parameter space is a plain `dict[str, Tensor]`."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Params = dict[str, Tensor]


def each(f: Callable[..., Tensor], *trees: Params) -> Params:
    """Apply `f` tensor by tensor; the first tree names the keys."""
    return {k: f(*(t[k] for t in trees)) for k in trees[0]}


def add(a: Params, b: Params, scale: float = 1.0) -> Params:
    """`a + scale * b`."""
    return {k: torch.add(x, b[k], alpha=scale) for k, x in a.items()}


def dot(a: Params, b: Params) -> Tensor:
    """Inner product over all coordinates, a scalar."""
    return torch.stack([torch.vdot(x.reshape(-1), b[k].reshape(-1)) for k, x in a.items()]).sum()


def norm(a: Params, p: float = 2) -> Tensor:
    """The `p`-norm of all coordinates taken as one vector."""
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(x, p) for x in a.values()]), p)


def size(a: Params) -> int:
    """How many coordinates there are."""
    return sum(x.numel() for x in a.values())


def size_bytes(a: Params) -> int:
    """How many bytes they take."""
    return sum(x.numel() * x.element_size() for x in a.values())


def flat(a: Params) -> Tensor:
    """All coordinates as one vector, in key order."""
    return torch.cat([x.reshape(-1) for x in a.values()])


def like(v: Tensor, a: Params) -> Params:
    """Inverse of `flat`: cut the vector `v` into the shapes of `a`."""
    pieces = v.split([x.numel() for x in a.values()])
    return {k: c.reshape(x.shape) for (k, x), c in zip(a.items(), pieces, strict=True)}


def leaves(x: Any, path: str = "") -> list[tuple[str, Tensor]]:
    """Every tensor inside nested dicts, tuples and lists, with its path."""
    if isinstance(x, Tensor):
        return [(path, x)]
    if isinstance(x, dict):
        pairs = [(str(k), y) for k, y in x.items()]
    elif isinstance(x, (tuple, list)):
        pairs = [(str(i), y) for i, y in enumerate(x)]
    else:
        pairs = []
    return [leaf for k, y in pairs for leaf in leaves(y, f"{path}/{k}")]


def place(x: Any, device: torch.device | str, dtype: torch.dtype | None = None) -> Any:
    """Move nested mappings, tuples and lists of tensors; only floating tensors change their `dtype`."""
    if isinstance(x, Tensor):
        return x.to(device, dtype if x.is_floating_point() else None)
    if isinstance(x, Mapping):
        return {k: place(y, device, dtype) for k, y in x.items()}
    if isinstance(x, (tuple, list)):
        placed = [place(y, device, dtype) for y in x]
        return type(x)(*placed) if hasattr(x, "_fields") else type(x)(placed)
    return x
