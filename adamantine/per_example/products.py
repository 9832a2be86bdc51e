"""Norms and inner products of the examples' gradients of one parameter, from its terms.

With `T` tokens an example, a matrix `[m, n]` has a gradient `R' C` of `T m n` multiplications, and a squared norm
`sum of (R R') (C C')`, entry by entry, of `T^2 (m + n)` (Goodfellow, arXiv:1510.01799; Li et al., arXiv:2110.05679):
whichever is less is done, a few examples at a time.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adamantine.per_example.terms import Dense, Lookup, Outer, Term

CHUNK = 1 << 18  # numbers at a time, so that they stay in the cache of a core
KEPT = 1 << 27  # numbers that may be held at once for inner products
# A gradient that is there anyway gives the sum over examples too, which an autograd pass then need not.
FAVOUR = 0.5
FEW = 8  # tokens whose products are faster taken again than gradients are read again


@dataclass(frozen=True, eq=False)
class Gathered:
    """All terms of a parameter of `shape`, and the way back from each to it (None where a term has its shape).

    `moved` says that there is a single term, whose entries are the parameter's, in another order.
    """

    terms: tuple[Term, ...]
    backs: tuple[Callable[[Tensor], Tensor] | None, ...]
    shape: tuple[int, ...]
    examples: int
    like: Tensor
    moved: bool = False

    def each(self, part: slice) -> Tensor:
        """The gradients of some examples, `[b, *shape]`."""
        total = None
        for term, back in zip(self.terms, self.backs, strict=True):
            found = term.each(part)
            found = found.reshape(-1, *self.shape) if back is None else back(found)
            total = found if total is None else total + found
        if total is None:
            count = len(range(*part.indices(self.examples)))
            return self.like.new_zeros(count, *self.shape)
        return total

    @property
    def plain(self) -> bool:
        """Whether every term has the parameter's shape."""
        return all(back is None for back in self.backs)

    def total(self) -> Tensor:
        """Their sum over all examples."""
        if not self.terms or not self.plain:
            return self.each(slice(None)).sum(0)
        first, *rest = (x.total().reshape(self.shape) for x in self.terms)
        return sum(rest, first)

    def weighted(self, c: Tensor) -> Tensor:
        """Their sum, each times its number in `c`, `[B]`."""
        if self.plain and factors(self.terms):
            scaled = [replace(x, cols=x.cols * c[:, None, None]) for x in self.terms if isinstance(x, (Outer, Lookup))]
            return replace(self, terms=tuple(scaled)).total()
        return torch.stack([torch.tensordot(c[part], self.each(part), 1) for part in self.chunks()]).sum(0)

    def summed(self, each: Tensor) -> Tensor:
        """Their sum over all examples, where they are there: by whichever is less work."""
        few = self.plain and factors(self.terms) and tokens(self.terms) <= FEW
        return self.total() if few else each.sum(0)

    def chunks(self) -> Iterator[slice]:
        """Parts of the examples that are done at once."""
        largest = max([1, self.like.numel(), *(math.prod(x.shape) for x in self.terms)])
        many = max(1, (CHUNK if self.plain else KEPT // 8) // largest)
        return (slice(i, min(i + many, self.examples)) for i in range(0, self.examples, many))


def flat(grads: Tensor) -> Tensor:
    """`[B, n]`, of numbers too."""
    return grads.reshape(len(grads), -1)


def factors(terms: Sequence[Term]) -> bool:
    """Whether all terms are products or lookups, whose inner products need no gradients."""
    return bool(terms) and all(isinstance(x, (Outer, Lookup)) for x in terms)


def tokens(terms: Sequence[Term]) -> int:
    """`T`, over all terms."""
    return sum(
        x.rows.shape[1] if isinstance(x, Outer) else x.ids.shape[1] for x in terms if isinstance(x, (Outer, Lookup))
    )


def squares(g: Gathered, total: bool) -> tuple[Tensor, Tensor | None]:
    """Squared norms `[B]` and, where `total`, the sum of the gradients over examples."""
    if not g.terms:
        return g.like.new_zeros(g.examples), torch.zeros_like(g.like) if total else None
    if g.moved and not total:
        g = replace(g, backs=(None,), shape=g.terms[0].shape)
    if g.plain and factors(g.terms) and not spreads(g, total):
        return _ghost_squares(g), g.total() if total else None
    if g.plain and len(g.terms) == 1 and isinstance(g.terms[0], Dense):
        norms = torch.linalg.vector_norm(flat(g.terms[0].grads), dim=1)
        return norms.square(), g.total() if total else None
    found, summed = [], None
    for part in g.chunks():
        grads = g.each(part)
        found.append(torch.linalg.vector_norm(flat(grads), dim=1).square())
        if total:
            here = grads.sum(0)
            summed = here if summed is None else summed.add_(here)
    return torch.cat(found), summed


def spreads(g: Gathered, total: bool) -> bool:
    """Whether the gradients of single examples are worth having for their norms; they give the `total` too."""
    t, width = tokens(g.terms), max(_width(x) for x in g.terms)
    if t == 1:
        return False
    if any(isinstance(x, Lookup) for x in g.terms):
        outer = sum(x.rows.shape[1] for x in g.terms if isinstance(x, Outer))
        return t * t * width > (outer + 4) * g.like.numel()
    return t * width > (FAVOUR if total else 1) * g.like.numel()


def _ghost_squares(g: Gathered) -> Tensor:
    if len(g.terms) == 1 and isinstance(g.terms[0], Outer) and g.terms[0].rows.shape[1] == 1:
        rows, cols = (torch.linalg.vector_norm(x[:, 0], dim=1) for x in (g.terms[0].rows, g.terms[0].cols))
        return (rows * cols).square()
    total = g.like.new_zeros(g.examples)
    for i, a in enumerate(g.terms):
        for b in g.terms[i:]:
            both = (_rows(a, b) * _cols(a, b)).sum((1, 2))
            total = total + (both if a is b else 2 * both)
    return total.clamp_min(0)


def _rows(a: Term, b: Term) -> Tensor:
    """Inner products of the row factors of two terms, `[B, Ta, Tb]`."""
    if isinstance(a, Lookup) and isinstance(b, Lookup):
        return (a.ids[:, :, None] == b.ids[:, None, :]).to(a.cols.dtype)
    if isinstance(a, Lookup) and isinstance(b, Outer):
        index = a.ids[:, None, :].expand(-1, b.rows.shape[1], -1)
        return b.rows.expand(len(index), -1, -1).gather(2, index).transpose(1, 2)
    if isinstance(b, Lookup):
        return _rows(b, a).transpose(1, 2)
    assert isinstance(a, Outer)
    assert isinstance(b, Outer)
    return a.rows @ b.rows.transpose(1, 2)


def _cols(a: Term, b: Term) -> Tensor:
    assert isinstance(a, (Outer, Lookup))
    assert isinstance(b, (Outer, Lookup))
    return a.cols @ b.cols.transpose(1, 2)


def gram(g: Gathered, total: bool) -> tuple[Tensor, Tensor | None]:
    """Inner products of all pairs of examples, `[B, B]`, and, where `total`, the sum of the gradients."""
    b, n = g.examples, g.like.numel()
    if not g.terms:
        return g.like.new_zeros(b, b), torch.zeros_like(g.like) if total else None
    if g.moved and not total:
        g = replace(g, backs=(None,), shape=g.terms[0].shape)
    if g.plain and factors(g.terms):
        t, width = tokens(g.terms), max(_width(x) for x in g.terms)
        if t == 1 or b * n > KEPT or b * t * t * width < (t + b) * n:
            return _ghost_gram(g), g.total() if total else None
    if b * n <= KEPT:
        each = g.each(slice(None))
        long = flat(each)
        return long @ long.T, g.summed(each) if total else None
    out, parts = g.like.new_zeros(b, b), [*g.chunks()]
    for i, here in enumerate(parts):
        left = flat(g.each(here))
        out[here, here] = left @ left.T
        for there in parts[i + 1 :]:
            out[here, there] = left @ flat(g.each(there)).T
            out[there, here] = out[here, there].T
    return out, sum((g.each(part).sum(0) for part in parts), torch.zeros_like(g.like)) if total else None


def _width(x: Term) -> int:
    return (
        x.rows.shape[2] + x.cols.shape[2] if isinstance(x, Outer) else x.cols.shape[2] if isinstance(x, Lookup) else 0
    )


def _ghost_gram(g: Gathered) -> Tensor:
    if len(g.terms) == 1 and isinstance(g.terms[0], Outer) and g.terms[0].rows.shape[1] == 1:
        rows, cols = g.terms[0].rows[:, 0], g.terms[0].cols[:, 0]
        return (rows @ rows.T) * (cols @ cols.T)
    out = []
    for i in range(g.examples):
        row = g.like.new_zeros(g.examples)
        for a in g.terms:
            one = _one(a, i)
            for b in g.terms:
                row = row + (_rows(_alike(one, b), b) * _cols(_alike(one, b), b)).sum((1, 2))
        out.append(row)
    return torch.stack(out)


def _one(x: Term, i: int) -> Term:
    if isinstance(x, Outer):
        return Outer(x.rows[i : i + 1], x.cols[i : i + 1], x.shape)
    assert isinstance(x, Lookup)
    return Lookup(x.ids[i : i + 1], x.cols[i : i + 1], x.shape)


def _alike(one: Term, other: Term) -> Term:
    """One example's term beside as many as the other has, without copies."""
    assert isinstance(other, (Outer, Lookup))
    b = len(other.cols)
    if isinstance(one, Outer):
        return Outer(one.rows.expand(b, -1, -1), one.cols.expand(b, -1, -1), one.shape)
    assert isinstance(one, Lookup)
    return Lookup(one.ids.expand(b, -1), one.cols.expand(b, -1, -1), one.shape)
