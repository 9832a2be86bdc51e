"""Dropout whose masks travel with the batch: a hash of (the example's seed, the site, the position).

The mask of an example depends on its own seed only, so every question asked at a point (another gradient, a
Hessian product, the gradient of one example) sees the same surface, on every device.
"""

import torch
from torch import Tensor


def uniform(seeds: Tensor, site: int, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [0, 1), `[B, *shape]`, float32, a pure function of `seeds [B]` (int64) and `site`."""
    count = 1
    for n in shape:
        count *= n
    position = torch.arange(count, device=seeds.device, dtype=torch.int64)
    start = _mixed(seeds.reshape(-1, 1) ^ (site * 0x9E3779B9 + 1))
    bits = _mixed((start + position * 0x85EBCA6B) & 0xFFFFFFFF)
    return (bits >> 8).to(torch.float32).div(1 << 24).reshape(-1, *shape)


def _mixed(x: Tensor) -> Tensor:
    """The finalizer of a 32-bit hash ("lowbias32", Wellons 2018), in 64-bit integers."""
    x = x & 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x735A2D97) & 0xFFFFFFFF
    return x ^ (x >> 15)


def dropout(x: Tensor, rate: float, seeds: Tensor, site: int) -> Tensor:
    """`x` with a fraction `rate` of its entries zero and the rest divided by `1 - rate`."""
    keep = uniform(seeds, site, tuple(x.shape[1:])) >= rate
    return x * keep / (1 - rate)
