"""Random rotations with Haar blocks (Maes, Zhang et al., arXiv:2410.19964, appendix A).

A vector of `d` coordinates is permuted at random and cut into blocks of `block`, each rotated by the same
Haar matrix; the last, shorter block has its own. Memory `block^2 + d`, time `block * d`.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import get_args

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.scope import NORMALIZES, Scope, along
from adamantine.point import stream
from adamantine.tree import Params


@lru_cache(maxsize=256)
def haar(size: int, seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A Haar-distributed orthogonal matrix `[size, size]`, drawn in float64; treat it as read-only.

    QR of a Gaussian matrix is Haar only once each column takes the sign of its diagonal entry in `R`
    (Mezzadri, math-ph/0609050).
    """
    rng = stream(seed, f"haar/{size}")
    q, r = torch.linalg.qr(torch.randn(size, size, generator=rng, dtype=torch.float64))
    return (q * r.diagonal().sign()).to(device, dtype)


@lru_cache(maxsize=256)
def permutation(size: int, seed: int, device: torch.device, name: str = "") -> tuple[Tensor, Tensor]:
    """A random permutation of `size` indices and its inverse; treat them as read-only."""
    order = torch.randperm(size, generator=stream(seed, f"permutation{name}/{size}"))
    return order.to(device), order.argsort().to(device)


@dataclass(frozen=True)
class BlockHaar:
    """Rotate the vectors that `scope` names by one random matrix a length, as the module describes.

    Up to `block` coordinates the rotation is Haar; beyond, coordinates mix within random blocks only, which
    the source finds to be as good from far smaller blocks on. Vectors of equal length share their rotation.
    """

    scope: Scope = "all"
    block: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        limits.choice(self, get_args(Scope), scope=self.scope)
        limits.whole(self, block=self.block)
        limits.whole(self, 0, seed=self.seed)

    @property
    def normalizes(self) -> frozenset[str]:
        """Every group that contains the rotation."""
        return NORMALIZES[self.scope]

    def forth(self, a: Params) -> Params:
        """Rotated coordinates."""
        return along(self.scope, a, partial(self._turn, back=False))

    def back(self, a: Params) -> Params:
        """Inverse of `forth`."""
        return along(self.scope, a, partial(self._turn, back=True))

    def _turn(self, x: Tensor, back: bool) -> Tensor:
        d = x.shape[1]
        if d <= self.block:
            return x @ self._matrix(d, x, back)
        order, inverse = permutation(d, self.seed, x.device)
        if not back:
            x = x.index_select(1, order)
        whole = d - d % self.block
        head = x[:, :whole].reshape(-1, self.block) @ self._matrix(self.block, x, back)
        x = torch.cat([head.reshape(-1, whole), x[:, whole:] @ self._matrix(d - whole, x, back)], 1)
        return x.index_select(1, inverse) if back else x

    def _matrix(self, size: int, x: Tensor, back: bool) -> Tensor:
        q = haar(size, self.seed, x.dtype, x.device)
        return q if back else q.T
