"""Eigenvalues from a Krylov space (Lanczos 1950), with full reorthogonalization."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.solvers.operator import Operator

FRESH = 0.03  # share of a start from before that is drawn anew


@dataclass(frozen=True)
class Ritz:
    """Approximate eigenvalues `values [k]`, ascending, each within its `errors [k]` of a true one; `vectors [k, d]`.

    `weights [k]` are the squared first components: with `values` the nodes of a Gauss quadrature for the spectral
    measure of the start. `products` says what it cost.
    """

    values: Tensor
    errors: Tensor
    vectors: Tensor
    weights: Tensor
    products: int


def lanczos(a: Operator, products: int, rng: torch.Generator, start: Tensor | None = None) -> Ritz:
    """Ritz values of `a` from at most `products` products, fully reorthogonalized.

    `errors` are the residual norms `|a x - theta x|`, which bound the distance to the nearest eigenvalue, or what
    rounding leaves of it. The first vector is Gaussian; with `start` only a small share of it is, since from an exact
    eigenvector no product leads to another that has grown meanwhile. The small matrix is kept in float64. NaN where a
    product is not finite.
    """
    q = a.gaussian(rng)
    if start is not None:
        q = start / start.norm() + FRESH * q / q.norm()
    before, most, diagonal, beside = a.count, min(products, a.size), [], []
    basis = q.new_empty(most + 1, a.size)
    basis[0] = q / q.norm()
    for i in range(most):
        v = a @ basis[i]
        diagonal.append(float(basis[i] @ v))
        v = v - diagonal[i] * basis[i] - (beside[i - 1] * basis[i - 1] if i else 0)
        v, length = orthogonal(v, basis[: i + 1])
        beside.append(length)
        if not math.isfinite(diagonal[-1] + beside[-1]):
            lost = torch.full((1,), math.nan, dtype=torch.float64)
            return Ritz(lost, lost, basis[:1], lost, a.count - before)
        if beside[-1] <= 1e-10 * max(map(abs, (*diagonal, *beside))):
            break  # the space is invariant: what was found is exact
        basis[i + 1] = v / beside[-1]
    k = len(diagonal)
    small = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for i in range(k - 1):
        small[i, i + 1] = small[i + 1, i] = beside[i]
    values, vectors = torch.linalg.eigh(small)
    found = vectors.T.to(q) @ basis[:k]
    rounding = torch.finfo(q.dtype).eps * values.abs().max()
    return Ritz(
        values, (beside[-1] * vectors[-1].abs()).clamp(min=rounding), found, vectors[0].square(), a.count - before
    )


def orthogonal(v: Tensor, basis: Tensor) -> tuple[Tensor, float]:
    """What is left of `v [d]` outside of the span of the orthonormal rows of `basis [k, d]`, and its norm.

    Projected again, up to three times, while more than half of it goes: once is not enough in finite precision, and
    twice is seldom needed (Kahan, in Parlett 1980).
    """
    length = float(v.norm())
    for _ in range(3):
        v, before = torch.addmv(v, basis.T, basis @ v, alpha=-1), length
        length = float(v.norm())
        if length > before / 2 or not length:
            break
    return v, length
