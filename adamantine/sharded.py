"""Parameters as a step sees them: plain tensors, of a sharded parameter its shard or all of it."""

from typing import Any

import torch
from torch import Tensor

from adamantine.part import Part
from adamantine.symmetry import holds


def elementwise(part: Part) -> bool:
    """Whether every coordinate is stepped by itself, so that a shard can be stepped without the rest.

    So it is where tensors are stepped by themselves and coordinates may be exchanged between them.
    """
    return part.local and "signed permutation" in holds(part.symmetry)


def is_sharded(x: Tensor) -> bool:
    """Whether `x` is a `DTensor`."""
    return hasattr(x, "full_tensor")


def seen(x: Any, whole: bool) -> Tensor:
    """`x` as a plain tensor of at least one axis, in the same memory but where a whole one has to be gathered."""
    if is_sharded(x):
        x = x.full_tensor() if whole else x.to_local()
    return x.reshape(1) if x.ndim == 0 else x


def like(x: Tensor, whole: bool) -> Tensor:
    """A tensor without content as `seen` would give it, with nothing gathered."""
    local = x if whole or not is_sharded(x) else seen(x, False)
    return torch.empty(local.shape or (1,), dtype=x.dtype, device="meta")


@torch.no_grad()
def put(param: Any, value: Tensor, whole: bool) -> None:
    """Give the parameter the weights `value`, in the form in which `seen` shows them."""
    if not is_sharded(param):
        param.data.copy_(value.reshape(param.shape))
        return
    if whole:
        from torch.distributed.tensor import distribute_tensor

        value = value.reshape(param.shape)
        value = distribute_tensor(value, param.device_mesh, param.placements, src_data_rank=None).to_local()
    local = param.to_local()
    local.copy_(value.reshape(local.shape))
