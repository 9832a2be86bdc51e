"""Random orthogonal bases within a scope: block-Haar after a permutation, or a randomized Hadamard transform.

The scopes are those of Maes et al. (arXiv:2410.19964): the whole parameter vector, each tensor ("layer"), the
weights that enter one output neuron ("row", W R'), the weights that leave one input neuron ("column", L W).
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import stream
from adamantine.tree import Params

SCOPES = {"all": "rotation", "layer": "layer rotation", "row": "row rotation", "column": "column rotation"}


@dataclass(frozen=True)
class Haar:
    """Orthogonal coordinates: a random permutation, then independent Haar blocks of size `block`, fixed for a run.

    Scopes "row" and "column" use one dense Haar matrix a tensor, shared by its rows (columns); a tensor of fewer
    than two dimensions is rotated as one vector, one of more is seen as the matrix `[size(0), rest]`.
    """

    scope: str = "all"
    block: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an unknown scope and a block without room to rotate."""
        _check("Haar", self.scope)
        if self.block < 2:
            raise ValueError(f"Haar: block is {self.block}; a rotation needs at least two coordinates.")

    @property
    def group(self) -> str:
        """The group of reparametrizations it is drawn from."""
        return SCOPES[self.scope]

    def forth(self, a: Params) -> Params:
        """Coordinates in the rotated basis."""
        return self._apply(a, inverse=False)

    def back(self, a: Params) -> Params:
        """Inverse of `forth`."""
        return self._apply(a, inverse=True)

    def _apply(self, a: Params, inverse: bool) -> Params:
        if self.scope == "all":
            return tree.like(self._vector(tree.flat(a), "all", inverse), a)
        return {k: self._tensor(x, k, inverse) for k, x in a.items()}

    def _tensor(self, x: Tensor, name: str, inverse: bool) -> Tensor:
        if self.scope == "layer" or x.ndim < 2:
            return self._vector(x.reshape(-1), name, inverse).reshape(x.shape)
        m = x.reshape(len(x), -1)
        n = m.shape[1] if self.scope == "row" else m.shape[0]
        q = haar(n, f"{self.seed}/{name}", x.dtype, x.device)
        if self.scope == "row":
            return (m @ (q if inverse else q.T)).reshape(x.shape)
        return ((q.T if inverse else q) @ m).reshape(x.shape)

    def _vector(self, v: Tensor, name: str, inverse: bool) -> Tensor:
        d, label = len(v), f"{self.seed}/{name}"
        n = min(self.block, d)
        m, rest = divmod(d, n)
        order, undo = permutation(d, label, v.device)
        blocks = haar_blocks(m, n, label, v.dtype, v.device)
        last = haar(rest, f"{label}/rest", v.dtype, v.device) if rest else None
        if inverse:
            blocks, last = blocks.transpose(1, 2), last.T if last is not None else None
        else:
            v = v[order]
        out = torch.bmm(blocks, v[: m * n].reshape(m, n, 1)).reshape(-1)
        if last is not None:
            out = torch.cat([out, last @ v[m * n :]])
        return out[undo] if inverse else out


@dataclass(frozen=True)
class Hadamard:
    """Orthogonal coordinates without stored matrices: rounds of random signs, permutation and Hadamard blocks.

    One round sends a one-hot vector to a perfectly flat one, which no Haar rotation does, so at least two are
    required. Blocks are the powers of two in the binary expansion of the dimension, longest first.
    """

    scope: str = "all"
    rounds: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an unknown scope and a single round."""
        _check("Hadamard", self.scope)
        if self.scope not in ("all", "layer"):
            raise ValueError('Hadamard: scope is "all" or "layer"; use Haar for rows and columns.')
        if self.rounds < 2:
            raise ValueError(f"Hadamard: rounds is {self.rounds}; one round flattens one-hot vectors, give 2 or more.")

    @property
    def group(self) -> str:
        """The group of reparametrizations it is drawn from."""
        return SCOPES[self.scope]

    def forth(self, a: Params) -> Params:
        """Coordinates in the rotated basis."""
        return self._apply(a, inverse=False)

    def back(self, a: Params) -> Params:
        """Inverse of `forth`."""
        return self._apply(a, inverse=True)

    def _apply(self, a: Params, inverse: bool) -> Params:
        if self.scope == "all":
            return tree.like(self._vector(tree.flat(a), "all", inverse), a)
        return {k: self._vector(x.reshape(-1), k, inverse).reshape(x.shape) for k, x in a.items()}

    def _vector(self, v: Tensor, name: str, inverse: bool) -> Tensor:
        order = range(self.rounds)
        for i in reversed(order) if inverse else order:
            label = f"{self.seed}/{name}/{i}"
            forth, undo = permutation(len(v), label, v.device)
            signs = random_signs(len(v), label, v.dtype, v.device)
            v = signs * _hadamard(v)[undo] if inverse else _hadamard((signs * v)[forth])
        return v


def _hadamard(v: Tensor) -> Tensor:
    """Orthonormal Walsh-Hadamard transform of each power-of-two block; its own inverse."""
    out, start = [], 0
    while start < len(v):
        n = 1 << ((len(v) - start).bit_length() - 1)
        x, width = v[start : start + n], 1
        while width < n:
            x = x.reshape(-1, 2, width)
            x = torch.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1]], 1)
            width *= 2
        out.append(x.reshape(-1) / math.sqrt(n))
        start += n
    return torch.cat(out)


def _check(kind: str, scope: str) -> None:
    if scope not in SCOPES:
        raise ValueError(f"{kind}: scope {scope!r} is not one of {', '.join(SCOPES)}.")


@functools.lru_cache(maxsize=256)
def haar(n: int, label: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A Haar orthogonal matrix: QR of a Gaussian with the signs of R's diagonal divided out (Mezzadri 2007)."""
    q, r = torch.linalg.qr(torch.randn(n, n, generator=stream(label, f"haar {n}"), dtype=torch.float64))
    return (q * r.diagonal().sign()).to(device, dtype)


@functools.lru_cache(maxsize=32)
def haar_blocks(m: int, n: int, label: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`m` independent Haar matrices `[m, n, n]`; at most 16 different ones, repeated, to bound the memory."""
    distinct = min(m, 16)
    some = torch.stack([haar(n, f"{label}/block{i}", dtype, device) for i in range(distinct)])
    return some[torch.arange(m, device=device) % distinct].contiguous() if m <= 1024 else some[:1].expand(m, n, n)


@functools.lru_cache(maxsize=256)
def permutation(n: int, label: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """A random permutation and its inverse."""
    order = torch.randperm(n, generator=stream(label, f"permutation {n}"))
    return order.to(device), order.argsort().to(device)


@functools.lru_cache(maxsize=256)
def random_signs(n: int, label: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`n` independent signs."""
    return (torch.randint(2, (n,), generator=stream(label, f"signs {n}")) * 2 - 1).to(device, dtype)
