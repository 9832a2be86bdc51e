"""Gradients example by example, for parameters that go into operations without a rule.

By `vmap` over the gradient of a batch of one where the task allows it. Where it draws at random inside, or decides
by its data, by one backward pass an example through the graph of all losses, which keeps every mask.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from adamantine.tree import Params, size

AT_ONCE = 1 << 26  # numbers in the gradients of the examples that are done at once

Losses = Callable[[Params, Any], Tensor]


def by_vmap(losses: Losses, w: Params, names: list[str], batch: Any, examples: int) -> Params | None:
    """The gradients of the tensors `names`, `[B, ...]`; None where the task does not allow it."""
    still = {k: x.detach() for k, x in w.items() if k not in names}
    free = {k: w[k].detach() for k in names}

    def one(example: Any) -> Params:
        single = tree_map(lambda x: x[None] if isinstance(x, Tensor) else x, example)
        return torch.func.grad(lambda part: losses({**still, **part}, single).sum())(free)

    many = min(examples, max(1, AT_ONCE // max(1, size(free))))
    try:
        # The fused attention kernels have no rule for vmap.
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an operation has no batching rule: this is the fallback
            found = torch.func.vmap(one, chunk_size=many)(batch)
    except Exception:
        return None
    right = all(len(x) == examples for x in found.values())
    return {k: x.detach() for k, x in found.items()} if right else None


def by_loop(losses: Tensor, w: Params, names: list[str]) -> Params:
    """The gradients of the tensors `names`, `[B, ...]`, from the losses `[B]` and their graph, which stays."""
    out = {k: w[k].new_zeros(len(losses), *w[k].shape) for k in names}
    for i in range(len(losses)):
        found = torch.autograd.grad(losses[i], [w[k] for k in names], retain_graph=True, allow_unused=True)
        for k, g in zip(names, found, strict=True):
            if g is not None:
                out[k][i] = g
    return out
