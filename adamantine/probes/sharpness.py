"""The largest eigenvalue of the Hessian (sharpness: Cohen et al., arXiv:2103.00065) by the method of Lanczos (1950)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.tree import Params

FRESH = 0.03  # share of a start from before that is drawn anew


@dataclass(frozen=True)
class Ritz:
    """Approximate eigenvalues `values [k]`, ascending, each within its `errors [k]` of a true one; the top `vector`."""

    values: Tensor
    errors: Tensor
    vector: Params


def lanczos(p: Point, products: int, start: Params | None = None) -> Ritz:
    """Ritz values of the Hessian at `p` from at most `products` Hessian-vector products, fully reorthogonalized.

    `errors` are the residual norms `|H x - theta x|`, which bound the distance to the nearest eigenvalue. The first
    vector is Gaussian, drawn from the point's own randomness; with `start` only a small share of it is, since from an
    exact eigenvector no product leads to another that has grown meanwhile. The small matrix is kept in float64. NaN
    where a product is not finite.
    """
    d, rng = tree.size(p.w), p.rng("lanczos")
    q = tree.flat(tree.each(lambda x: torch.randn(x.shape, generator=rng, dtype=x.dtype).to(x.device), p.w))
    if start is not None:
        known = tree.flat(start)
        q = known / known.norm() + FRESH * q / q.norm()
    basis, diagonal, beside = [q / q.norm()], [], []
    for _ in range(min(products, d)):
        v = tree.flat(p.hvp(tree.like(basis[-1], p.w)))
        diagonal.append(float(basis[-1] @ v))
        for _ in range(2):  # once is not enough in finite precision
            known = torch.stack(basis)
            v = v - known.T @ (known @ v)
        beside.append(float(v.norm()))
        if not math.isfinite(diagonal[-1] + beside[-1]):
            lost = torch.full((1,), math.nan, dtype=torch.float64)
            return Ritz(lost, lost, tree.like(basis[0], p.w))
        if beside[-1] <= 1e-10 * max(map(abs, (*diagonal, *beside))):
            break  # the space is invariant: what was found is exact
        basis.append(v / beside[-1])
    k = len(diagonal)
    small = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for i in range(k - 1):
        small[i, i + 1] = small[i + 1, i] = beside[i]
    values, vectors = torch.linalg.eigh(small)
    top = torch.stack(basis[:k]).T @ vectors[:, -1].to(q)
    return Ritz(values, beside[-1] * vectors[-1].abs(), tree.like(top, p.w))


@dataclass(frozen=True)
class Sharpness:
    """The largest eigenvalue of the Hessian of the batch's loss, and a bound on its error.

    Costs `products` Hessian-vector products; from the second measured point on it starts near the eigenvector found
    before, so that few are needed. The error bounds the distance to the nearest eigenvalue, not to the largest: one
    that has just become the largest may be missed for a measurement or two. The batch's sharpness exceeds the full
    loss's on average: compare like with like.
    """

    products: int = 10

    def __post_init__(self) -> None:
        """Refuse less than one product."""
        if self.products < 1:
            raise ValueError(f"Sharpness: products = {self.products} must be at least 1.")

    def __call__(self, p: Point) -> dict[str, float]:
        """`sharpness` and `sharpness_error`: an eigenvalue lies within the error of the value."""
        note = f"top eigenvector of {self!r}"
        found = lanczos(p, self.products, p.notes.get(note))
        value = float(found.values[-1])
        if math.isfinite(value):
            p.notes[note] = found.vector
        return {"sharpness": value, "sharpness_error": float(found.errors[-1])}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The largest eigenvalue."""
        return {"sharpness": float(torch.linalg.eigvalsh(h)[-1])}
