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

    `errors` are the residual norms `|a x - theta x|`, which bound the distance to the nearest eigenvalue. The first
    vector is Gaussian; with `start` only a small share of it is, since from an exact eigenvector no product leads to
    another that has grown meanwhile. The small matrix is kept in float64. NaN where a product is not finite.
    """
    q = a.gaussian(rng)
    if start is not None:
        q = start / start.norm() + FRESH * q / q.norm()
    before, basis, diagonal, beside = a.count, [q / q.norm()], [], []
    for _ in range(min(products, a.size)):
        v = a @ basis[-1]
        diagonal.append(float(basis[-1] @ v))
        for _ in range(2):  # once is not enough in finite precision
            known = torch.stack(basis)
            v = v - known.T @ (known @ v)
        beside.append(float(v.norm()))
        if not math.isfinite(diagonal[-1] + beside[-1]):
            lost = torch.full((1,), math.nan, dtype=torch.float64)
            return Ritz(lost, lost, basis[0][None], lost, a.count - before)
        if beside[-1] <= 1e-10 * max(map(abs, (*diagonal, *beside))):
            break  # the space is invariant: what was found is exact
        basis.append(v / beside[-1])
    k = len(diagonal)
    small = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for i in range(k - 1):
        small[i, i + 1] = small[i + 1, i] = beside[i]
    values, vectors = torch.linalg.eigh(small)
    found = vectors.T.to(q) @ torch.stack(basis[:k])
    return Ritz(values, beside[-1] * vectors[-1].abs(), found, vectors[0].square(), a.count - before)
