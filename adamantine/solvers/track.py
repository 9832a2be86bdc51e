"""The largest eigenvalues of a matrix that changes slowly, from few products a time.

Rayleigh-Ritz on the vectors found before and their residuals (Knyazev 2001, doi:10.1137/S1064827500366124; restarted
as in Wu & Simon 2000, doi:10.1137/S0895479898334605).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.solvers.lanczos import FRESH, lanczos
from adamantine.solvers.operator import Operator

GUARD = 0.1  # share of the vector next in line


@dataclass(frozen=True)
class Tracked:
    """The `values [k]` at one end of the spectrum, the outermost first, with their `vectors [k, d]`.

    `bounds [k]` are the residual norms `|r| = |a x - theta x|`: an eigenvalue lies within each. `errors [k]` are
    `min(|r|, |r|^2 / gap)`, with the gap from the value to the next one and its bound: an estimate, right where
    the next Ritz value stands for the next eigenvalue. `start [<= k + 1, d]` is what to begin with next time.
    """

    values: Tensor
    errors: Tensor
    bounds: Tensor
    vectors: Tensor
    start: Tensor
    products: int


@dataclass
class _Space:
    """Orthonormal vectors with their products, and the Ritz pairs in their span."""

    basis: Tensor  # [n, d]
    images: Tensor  # [n, d]
    values: Tensor  # [n], the outermost first
    inner: Tensor  # [n, n], a Ritz vector a row, in the basis

    def residuals(self, k: int) -> Tensor:
        """`a x - theta x` of the first `k`."""
        inner = self.inner[:k].to(self.basis)
        return inner @ self.images - self.values[:k, None].to(self.basis) * (inner @ self.basis)


def track(
    a: Operator,
    rng: torch.Generator,
    before: Tensor | None = None,
    k: int = 1,
    sign: int = 1,
    tolerance: float = 0.01,
    most: int = 12,
) -> Tracked:
    """The `k` largest (`sign = 1`) or smallest (`sign = -1`) eigenvalues of `a`, from what was found `before`.

    `2 k + 1` products where little has changed: one a vector, the others for residuals. More residuals are added while
    an estimated error exceeds `tolerance` times its value, up to `most` products. The first residuals hold shares of
    the vector next in line and of a random one, so that an eigenvalue that overtakes is found even where all vectors
    are exact. Without `before`, Lanczos with `most` products. NaN where a product is. Raises ValueError for vectors of
    another length, and fewer products than `2 k + 1`.
    """
    if k < 1 or most < 2 * k + 1 or sign not in (1, -1):
        raise ValueError(f"track: k = {k}, most = {most}, sign = {sign}; needs k >= 1, most >= 2 k + 1, sign 1 or -1.")
    if before is not None and before.shape[-1] != a.size:
        raise ValueError(f"track: vectors of {before.shape[-1]} coordinates for a matrix of {a.size}; start anew.")
    used = a.count
    if before is None or not bool(before.isfinite().all()) or not bool(before.any()):
        return _cold(a, rng, k, sign, most)
    space, guard = _grown(a, None, before[:k], sign), before[k : k + 1].sum(0)
    while (room := min(most, a.size) - len(space.basis)) > 0 and bool(space.values.isfinite().all()):
        errors, _ = _errors(space, k, sign)
        open_ = errors > tolerance * space.values[:k].abs()
        if a.count - used > 2 * k and not bool(open_.any()):
            break
        rest, held = space.residuals(k + 1), len(space.basis)
        if a.count - used <= k:
            floors = (tolerance * space.values[:k].abs()).tolist()
            wanted = [_mixed(r, guard, floor, a, rng) for r, floor in zip(rest, floors, strict=False)]
        else:  # what is settled leaves its products to the next in line
            wanted = list(rest[:k][open_.to(rest.device)]) if bool(open_.any()) else [rest[-1]]
        space = _grown(a, space, wanted[:room], sign)
        if len(space.basis) == held:
            break  # the space is invariant: nothing leads out of it
    return _told(space, k, sign, a.count - used)


def _cold(a: Operator, rng: torch.Generator, k: int, sign: int, most: int) -> Tracked:
    found = lanczos(a, most, rng)
    order = torch.arange(len(found.values)).flip(0) if sign > 0 else torch.arange(len(found.values))
    values, bounds = found.values[order], found.errors[order]
    errors = _estimates(sign * values, bounds, k)
    vectors = found.vectors[order.to(found.vectors.device)]
    n = min(k, len(values))
    return Tracked(values[:n], errors, bounds[:n], vectors[:n], vectors[: k + 1], found.products)


def _grown(a: Operator, space: _Space | None, vectors: Iterable[Tensor], sign: int) -> _Space:
    """The space with `vectors` in it, as far as they are new."""
    basis = [] if space is None else list(space.basis)
    images = [] if space is None else list(space.images)
    for v in vectors:
        size = v.norm()
        for _ in range(2):
            if basis:
                known = torch.stack(basis)
                v = v - known.T @ (known @ v)
        if float(v.norm()) > 1e-6 * float(size):
            basis.append(v / v.norm())
            images.append(a @ basis[-1])
    q, aq = torch.stack(basis), torch.stack(images)
    small = (q @ aq.T).double().cpu()
    if not bool(small.isfinite().all()):
        return _Space(q, aq, torch.full((len(q),), math.nan, dtype=torch.float64), torch.eye(len(q)).double())
    values, inner = torch.linalg.eigh(sign * (small + small.T) / 2)
    return _Space(q, aq, sign * values.flip(0), inner.T.flip(0))


def _mixed(r: Tensor, guard: Tensor, floor: float, a: Operator, rng: torch.Generator) -> Tensor:
    """A residual, less of it where it is below `floor`, with a share of the guard and one drawn anew."""
    new = a.gaussian(rng)
    share = max(float(r.norm()), floor, torch.finfo(r.dtype).tiny)
    return r / share + GUARD * guard + FRESH * new / new.norm()


def _estimates(values: Tensor, bounds: Tensor, k: int) -> Tensor:
    """`min(|r|, |r|^2 / gap)` for the first `k` of descending values; where nothing lies below, `|r|`."""
    gaps = values[:-1] - values[1:] - bounds[1:]
    gaps = torch.cat([gaps.clamp(min=0), torch.zeros(1, dtype=values.dtype)])[:k]
    bounds = bounds[:k]
    return torch.where(gaps > bounds, bounds.square() / gaps, bounds)


def _errors(space: _Space, k: int, sign: int) -> tuple[Tensor, Tensor]:
    bounds = space.residuals(k + 1).norm(dim=1).double().cpu()
    return _estimates(sign * space.values[: k + 1], bounds, k), bounds[:k]


def _told(space: _Space, k: int, sign: int, products: int) -> Tracked:
    errors, bounds = _errors(space, k, sign)
    vectors = space.inner[: k + 1].to(space.basis) @ space.basis
    return Tracked(space.values[:k], errors, bounds, vectors[:k], vectors, products)
