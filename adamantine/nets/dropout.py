"""Dropout (Srivastava et al. 2014) whose masks travel with the batch.

A mask is a hash of the example's seed, the place in the network and the position in the tensor: counter-based
randomness in the manner of Salmon et al. (2011, "Parallel random numbers: as easy as 1, 2, 3"). The mask of an
example depends on its own seed only, so every question asked at a point (another gradient, a Hessian product, the
gradient of one example) sees the same surface, on every device.
"""

import math

import torch
from torch import Tensor

WORD = 0xFFFFFFFF


def uniform(seeds: Tensor, site: int, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [0, 1), `[B, *shape]`, float32 on a grid of 2^-24: a pure function of `seeds [B]` and `site`.

    `seeds` are int64, all 64 bits of them used; different sites give unrelated numbers.
    """
    own = _mixed(seeds ^ _mixed((seeds >> 32) + _hashed(site))).reshape(-1, 1)
    position = _mixed(torch.arange(1, math.prod(shape) + 1, device=seeds.device, dtype=torch.int64))
    # Both sides are hashed before they meet: a counter merely offset by the seed would make the masks of two
    # examples shifted copies of one sequence.
    bits = _mixed(position ^ own)
    return (bits >> 8).to(torch.float32).mul(2.0**-24).reshape(-1, *shape)


def _mixed(x: Tensor) -> Tensor:
    """A bijection of 32-bit words ("lowbias32", Wellons 2018) in int64, where its products cannot overflow."""
    x = x & WORD
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & WORD
    x = ((x ^ (x >> 15)) * 0x735A2D97) & WORD
    return x ^ (x >> 15)


def _hashed(site: int) -> int:
    return ((site + 1) * 0x9E3779B9) & WORD


def dropout(x: Tensor, rate: float, seeds: Tensor, site: int) -> Tensor:
    """`x [B, ...]` with each entry zero with probability `rate` and otherwise divided by `1 - rate`.

    `seeds [B]` are the examples' own; `site` tells the places of one network apart. Rate 0 gives `x` itself.
    Raises ValueError where the rate is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: the rate is {rate}; it must be at least 0 and below 1.")
    if rate == 0:
        return x
    keep = uniform(seeds, site, tuple(x.shape[1:])) >= rate
    return x * keep.to(x.dtype).mul(1 / (1 - rate))
