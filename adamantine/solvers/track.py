"""The largest eigenvalues of a matrix that changes slowly, from few products a time.

Rayleigh-Ritz on the vectors found before and their residuals (Knyazev 2001, doi:10.1137/S1064827500366124; restarted
as in Wu & Simon 2000, doi:10.1137/S0895479898334605).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.solvers.lanczos import FRESH, lanczos, orthogonal
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


class _Space:
    """Orthonormal vectors with their products, and the Ritz pairs in their span, the outermost first."""

    def __init__(self, a: Operator, sign: int, rows: int) -> None:
        self.a, self.sign, self.n = a, sign, 0
        self.basis, self.images = (a.like.new_empty(rows, a.size) for _ in range(2))
        self.small = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, vectors: Iterable[Tensor]) -> None:
        """Widen the span by `vectors`, as far as they are new, at one product each."""
        for v in vectors:
            size, n = float(v.norm()), self.n
            v, length = orthogonal(v, self.basis[:n])
            if not length > 1e-6 * size:
                continue
            if n == len(self.basis):
                self.basis, self.images = (torch.cat([x, torch.empty_like(x)]) for x in (self.basis, self.images))
            self.basis[n] = v / length
            self.images[n] = self.a @ self.basis[n]
            self.n = n + 1
            row = (self.basis[: self.n] @ self.images[n]).double().cpu()
            small = torch.zeros(n + 1, n + 1, dtype=torch.float64)
            small[:n, :n], small[n], small[:, n] = self.small, row, row
            self.small = small
        if bool(self.small.isfinite().all()):
            values, inner = torch.linalg.eigh(self.sign * self.small)
            self.values, self.inner = self.sign * values.flip(0), inner.T.flip(0)
        else:
            self.values, self.inner = torch.full((self.n,), math.nan, dtype=torch.float64), torch.eye(self.n).double()

    def ritz(self, k: int) -> tuple[Tensor, Tensor]:
        """The first `k` Ritz vectors, and their residuals `a x - theta x`."""
        inner = self.inner[:k].to(self.basis)
        vectors = inner @ self.basis[: self.n]
        return vectors, torch.addcmul(
            inner @ self.images[: self.n], self.values[:k, None].to(self.basis), vectors, value=-1
        )


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
    if before is None or not 0 < float(before.norm()) < math.inf:
        return _cold(a, rng, k, sign, most)
    guard, space = before[k : k + 1].sum(0), _Space(a, sign, min(2 * k + 4, most, a.size))
    space.add(before[:k])
    while True:
        vectors, rest = space.ritz(k + 1)
        bounds = rest.norm(dim=1).double().cpu()
        errors = _estimates(sign * space.values[: k + 1], bounds, k)
        room, held = min(most, a.size) - space.n, space.n
        allowed = tolerance * space.values[:k].abs()
        missed = errors > allowed
        if room <= 0 or not bool(errors.isfinite().all()) or (held > 2 * k and not bool(missed.any())):
            break
        if held <= k:
            wanted = [_mixed(r, guard, floor, a, rng) for r, floor in zip(rest, allowed.tolist(), strict=False)]
        else:  # what is settled leaves its products to the next in line
            wanted = list(rest[:k][missed.to(rest.device)]) if bool(missed.any()) else [rest[-1]]
        space.add(wanted[:room])
        if space.n == held:
            break  # the space is invariant: nothing leads out of it
    return Tracked(space.values[:k], errors, bounds[:k], vectors[:k], vectors, a.count - used)


def _cold(a: Operator, rng: torch.Generator, k: int, sign: int, most: int) -> Tracked:
    found = lanczos(a, most, rng)
    order = torch.arange(len(found.values)).flip(0) if sign > 0 else torch.arange(len(found.values))
    values, bounds = found.values[order], found.errors[order]
    errors = _estimates(sign * values, bounds, k)
    vectors = found.vectors[order.to(found.vectors.device)]
    n = min(k, len(values))
    return Tracked(values[:n], errors, bounds[:n], vectors[:n], vectors[: k + 1], found.products)


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
