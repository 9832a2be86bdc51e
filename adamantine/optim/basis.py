"""The same optimizer in other coordinates: fixed, from the gradient's singular vectors, or Shampoo's eigenbasis."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from adamantine import tree
from adamantine.optim.rotation import Haar, Hadamard
from adamantine.optim.second_moment import Rms
from adamantine.part import GROUPS, Part, State, holds, symmetry_of
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class InBasis(Part):
    """Run `inner` on the loss `f(Q' w)` for a fixed orthogonal `Q`, keeping the weights where they are.

    Gradient, direction and weights are carried to the basis, the answer back (arXiv:2410.19964, figure 3).
    """

    inner: Part = field(default_factory=Rms)
    basis: Haar | Hadamard = field(default_factory=Haar)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Conjugation by a member of a group maps the group to itself; other groups are lost."""
        kept = {g for g in holds(self.inner.symmetry) if self.basis.group in GROUPS[g]}
        return symmetry_of(frozenset().union(*(GROUPS[g] for g in kept)))

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As `inner`."""
        return self.inner.gradients

    def init(self, w: Params) -> State:
        """`inner`'s state in the basis."""
        return self.inner.init(self.basis.forth(w))

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Carry there, update, carry back."""
        g = self.basis.forth(p.grad)
        v = g if u is p.grad else self.basis.forth(u)
        v, s = self.inner.update(v, s, p.given(g, self.basis.forth(p.w)))
        return self.basis.back(v), s

    def state_bytes(self, w: Params) -> int:
        """As `inner`; the rotation itself is made from its seed."""
        return self.inner.state_bytes(w)


def _turn(x: Tensor, sides: tuple[Tensor | None, Tensor | None], inverse: bool) -> Tensor:
    """`L' X R` into the basis whose vectors are the columns of `L` and `R`, or `L X R'` back."""
    left, right = sides
    m = x.reshape(len(x), -1)
    if left is not None:
        m = (left if inverse else left.T) @ m
    if right is not None:
        m = m @ (right.T if inverse else right)
    return m.reshape(x.shape)


def _carry(a: Params, bases: dict[str, tuple[Tensor | None, Tensor | None]], inverse: bool = False) -> Params:
    return {k: _turn(x, bases[k], inverse) if k in bases else x for k, x in a.items()}


@dataclass(frozen=True)
class SvdBasis(Part):
    """Run `inner` in the singular basis of the current gradient, `U' G V`, refreshed every `every` steps.

    State is kept through a refresh without re-projection (arXiv:2410.19964, algorithm 5; full-rank GaLore).
    Tensors with fewer than two dimensions, and sides longer than `longest`, stay unrotated.
    """

    inner: Part = field(default_factory=Rms)
    every: int = 50
    longest: int = 1024
    symmetry = "left-right rotation"

    def init(self, w: Params) -> State:
        """The bases, none yet; the count of steps; `inner`'s state."""
        return {}, 0, self.inner.init(w)

    def _bases(self, g: Params) -> dict[str, tuple[Tensor | None, Tensor | None]]:
        bases = {}
        for k, x in g.items():
            if x.ndim < 2:
                continue
            m = x.reshape(len(x), -1)
            left, _, right = torch.linalg.svd(m, full_matrices=max(m.shape) <= self.longest)
            bases[k] = (
                left if m.shape[0] <= self.longest else None,
                right.T.contiguous() if m.shape[1] <= self.longest else None,
            )
        return bases

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Refresh if due, then as `InBasis`."""
        bases, t, inner = s
        if t % self.every == 0:
            bases = self._bases(p.grad)
        g = _carry(p.grad, bases)
        v = g if u is p.grad else _carry(u, bases)
        v, inner = self.inner.update(v, inner, p.given(g, _carry(p.w, bases)))
        return _carry(v, bases, inverse=True), (bases, t + 1, inner)

    def state_bytes(self, w: Params) -> int:
        """The two bases of every matrix, and `inner`'s."""
        return _basis_bytes(w, self.longest) + self.inner.state_bytes(w)


@dataclass(frozen=True)
class Eigenbasis(Part):
    """Run `inner` in Shampoo's eigenbasis: the eigenvectors of EMAs of `G G'` and `G' G` (SOAP, arXiv:2409.11321).

    Refreshed every `every` steps by a full eigendecomposition (the authors take one QR power step). Put the
    momentum before it (`Ema >> Eigenbasis(Rms)`): averaging in the original basis is re-projecting it exactly;
    the second moment is kept through a refresh, as theirs is. The authors skip the first step; here it is taken
    in the eigenbasis of the first gradient.
    """

    inner: Part = field(default_factory=Rms)
    beta: float = 0.95
    every: int = 10
    longest: int = 1024
    symmetry = "left-right rotation"

    def init(self, w: Params) -> State:
        """The two covariances of each matrix, the bases (identity), the count of steps, `inner`'s state."""
        sides = {k: self._sides(x) for k, x in w.items() if x.ndim >= 2}
        cov = {k: [torch.zeros(n, n, dtype=w[k].dtype, device=w[k].device) if n else None for n in v] for k, v in sides.items()}
        eye = {k: [torch.eye(n, dtype=w[k].dtype, device=w[k].device) if n else None for n in v] for k, v in sides.items()}
        return cov, eye, 0, self.inner.init(w)

    def _sides(self, x: Tensor) -> tuple[int, int]:
        m, n = len(x), x.numel() // len(x)
        return (m if m <= self.longest else 0), (n if n <= self.longest else 0)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Average the covariances, refresh if due, then as `InBasis`."""
        cov, bases, t, inner = s
        new = {}
        for k, (a, b) in cov.items():
            m = p.grad[k].reshape(len(p.grad[k]), -1)
            new[k] = [
                a if a is None else a.lerp(m @ m.T, 1 - self.beta),
                b if b is None else b.lerp(m.T @ m, 1 - self.beta),
            ]
        if t % self.every == 0:
            bases = {k: [x if x is None else torch.linalg.eigh(x)[1].flip(1) for x in v] for k, v in new.items()}
        sides = {k: (v[0], v[1]) for k, v in bases.items()}
        g = _carry(p.grad, sides)
        v = g if u is p.grad else _carry(u, sides)
        v, inner = self.inner.update(v, inner, p.given(g, _carry(p.w, sides)))
        return _carry(v, sides, inverse=True), (new, bases, t + 1, inner)

    def state_bytes(self, w: Params) -> int:
        """Covariance and basis of each side, and `inner`'s."""
        return 2 * _basis_bytes(w, self.longest) + self.inner.state_bytes(w)


def _basis_bytes(w: Params, longest: int) -> int:
    sides = [(x, n) for x in w.values() if x.ndim >= 2 for n in (len(x), x.numel() // len(x)) if n <= longest]
    return sum(n * n * x.element_size() for x, n in sides)
