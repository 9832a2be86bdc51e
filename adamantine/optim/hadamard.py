"""Randomized Hadamard rotations (Ailon & Chazelle 2006): random in `d` bits, applied in `d log d`-like time.

Each round flips random signs, permutes, and applies orthonormal Hadamard matrices to blocks whose size is a
power of two; a remainder is covered, without padding, by a second matrix over the last block. One round
sends a coordinate vector to a perfectly flat one, which no typical rotation does; two or more are needed.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.rotations import permutation
from adamantine.optim.scope import NORMALIZES, Scope, along
from adamantine.point import stream
from adamantine.tree import Params


@lru_cache(maxsize=64)
def hadamard(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Sylvester's matrix `[size, size]` over `sqrt(size)`: symmetric and its own inverse; read-only."""
    h = torch.ones(1, 1, dtype=torch.float64)
    while len(h) < size:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    return (h / size**0.5).to(device, dtype)


@lru_cache(maxsize=256)
def signs(size: int, seed: int, dtype: torch.dtype, device: torch.device, name: str) -> Tensor:
    """`size` independent fair signs; read-only."""
    rng = stream(seed, f"signs{name}/{size}")
    return (2 * torch.randint(2, (size,), generator=rng) - 1).to(device, dtype)


def transformed(x: Tensor, size: int) -> Tensor:
    """The orthonormal Hadamard transform of each row of `x`, `[n, size]`, as two matrix products."""
    left = 1 << (size.bit_length() // 2)
    a, b = hadamard(left, x.dtype, x.device), hadamard(size // left, x.dtype, x.device)
    return (a @ (x.reshape(-1, left, size // left) @ b)).reshape(-1, size)


@dataclass(frozen=True)
class Hadamard:
    """Rotate the vectors that `scope` names by `rounds` of signs, permutation and Hadamard blocks."""

    scope: Scope = "all"
    rounds: int = 2
    seed: int = 0
    block: int = 1024

    def __post_init__(self) -> None:
        limits.choice(self, get_args(Scope), scope=self.scope)
        limits.whole(self, 0, seed=self.seed)
        limits.whole(self, block=self.block)
        if self.block & (self.block - 1):
            raise ValueError(f"Hadamard: block = {self.block} must be a power of two; give 1024, say.")
        if not isinstance(self.rounds, int) or self.rounds < 2:
            raise ValueError(
                f"Hadamard: rounds = {self.rounds!r} must be at least 2, because a single round makes a coordinate "
                "vector perfectly flat, unlike a random rotation; give 2."
            )

    @property
    def normalizes(self) -> frozenset[str]:
        """Every group that contains the rotation."""
        return NORMALIZES[self.scope]

    def forth(self, a: Params) -> Params:
        """Rotated coordinates."""
        return along(self.scope, a, self._forth)

    def back(self, a: Params) -> Params:
        """Inverse of `forth`."""
        return along(self.scope, a, self._back)

    def _block(self, d: int) -> int:
        return min(self.block, 1 << (d.bit_length() - 1))

    def _signs(self, x: Tensor, i: int) -> Tensor:
        return signs(x.shape[1], self.seed, x.dtype, x.device, str(i))

    def _forth(self, x: Tensor) -> Tensor:
        d = x.shape[1]
        b = self._block(d)
        whole = d - d % b
        for i in range(self.rounds):
            order, _ = permutation(d, self.seed, x.device, str(i))
            x = (x * self._signs(x, i)).index_select(1, order)
            x = torch.cat([transformed(x[:, :whole].reshape(-1, b), b).reshape(-1, whole), x[:, whole:]], 1)
            if whole < d:
                x = torch.cat([x[:, : d - b], transformed(x[:, d - b :], b)], 1)
        return x

    def _back(self, x: Tensor) -> Tensor:
        d = x.shape[1]
        b = self._block(d)
        whole = d - d % b
        for i in reversed(range(self.rounds)):
            _, inverse = permutation(d, self.seed, x.device, str(i))
            if whole < d:
                x = torch.cat([x[:, : d - b], transformed(x[:, d - b :], b)], 1)
            x = torch.cat([transformed(x[:, :whole].reshape(-1, b), b).reshape(-1, whole), x[:, whole:]], 1)
            x = x.index_select(1, inverse) * self._signs(x, i)
        return x
