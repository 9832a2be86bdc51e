"""What an optimizer's state has learnt, apart from how it is kept, so that another optimizer can go on from it.

A part tells its averages as `Moment`s: one value a coordinate, corrected for the start at zero. Another part takes
the ones it has a place for and keeps them its own way: shared by rows, rank one, in few bits, in another basis, frozen.
Each way of keeping defines its own two directions, and no table of pairs exists.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from adamantine.tree import Params, each, like, size

FIRST = "first moment"
SECOND = "second moment"
EXACT = 1024  # coordinates up to which squares of a rotation known only as a function are computed one by one
PROBES = 64


@dataclass(frozen=True)
class Moment:
    """An average of `t` steps (0: it did not count them, and is taken as settled).

    `value` is free of the bias from starting at zero, in the coordinates that `bases` lead to, the outermost first.
    `units` are the scalings that the direction had gone through where it was averaged: a momentum of gradients and one
    of Adam's steps are different things.
    """

    kind: str
    value: Params
    t: int = 0
    bases: tuple[Any, ...] = ()
    units: tuple[str, ...] = ()

    def within(self, basis: Any) -> "Moment":
        """The same moment, told from outside of the `basis` in which it was told."""
        return replace(self, bases=(basis, *self.bases))

    def behind(self, units: tuple[str, ...]) -> "Moment":
        """The same moment, told from before the scalings `units`."""
        return replace(self, units=(*units, *self.units))


@runtime_checkable
class Sided(Protocol):
    """A basis `x.flatten(1) -> left' x right` of orthogonal matrices by name; one that is missing is the identity."""

    @property
    def left(self) -> Params:
        """By tensor, `[rows, rows]`."""
        ...

    @property
    def right(self) -> Params:
        """By tensor, `[columns, columns]`."""
        ...


class Live:
    """The moments of a running optimizer, each handed out once: the first of its kind goes to the first who asks."""

    def __init__(self, moments: Iterable[Moment]) -> None:
        self.unclaimed = [(m, set(m.value)) for m in moments]
        self.bases: tuple[Any, ...] = ()
        self.units: tuple[str, ...] = ()

    def seen_in(self, basis: Any) -> "Live":
        """The same moments, for someone who works in `basis`."""
        return self._view(bases=(*self.bases, basis))

    def behind(self, units: tuple[str, ...]) -> "Live":
        """The same moments, for someone who sees the direction after the scalings `units`."""
        return self._view(units=(*self.units, *units))

    def through(self, groups: Iterable[Params], f: Callable[[Params], Params]) -> "Live":
        """All that is told of each group of tensors, claimed, as `f` maps it: it moves coordinates and mixes none."""
        groups, out = list(groups), []
        for kind in (FIRST, SECOND):
            for units in dict.fromkeys(m.units for m, _ in self.unclaimed if m.kind == kind):
                for w in groups:
                    while m := self._view(units=units).claim(kind, w):
                        out.append(replace(m, value=f(m.value), bases=(), units=units))
        return Live(out).behind(self.units)

    def _view(self, **changed: Any) -> "Live":
        view = Live(())
        view.__dict__.update(self.__dict__ | changed)
        return view

    def claim(self, kind: str, w: Params) -> Moment | None:
        """The next moment of this `kind` for all tensors of `w`, in the coordinates asked for; None unless all have it.

        Where tensors bring different numbers of steps, the smallest counts. First moments are turned exactly. Second
        moments are turned by the squared entries of the rotation, `v'_i = sum_j Q_ij^2 v_j`: the diagonal of `Q diag(v)
        Q'`, exact where coordinates are uncorrelated. Other kinds are not turned, and claimed only from the same basis.
        """
        units = self.units if kind == FIRST else ()
        of_kind = [(m, rest) for m, rest in self.unclaimed if m.kind == kind and (kind != FIRST or m.units == units)]
        found = {k: next((i for i, (_, rest) in enumerate(of_kind) if k in rest), None) for k in w}
        if not w or None in found.values():
            return None
        indices = sorted({i for i in found.values() if i is not None})
        pieces = [(of_kind[i][0], [k for k in w if found[k] == i]) for i in indices]
        value: Params = {}
        if len(pieces) == 1 and pieces[0][0].value.keys() == w.keys():
            value = _turned(pieces[0][0], self.bases)
        elif all(isinstance(b, Sided) for m, _ in pieces for b in (*m.bases, *self.bases)):
            for m, names in pieces:
                value |= _turned(replace(m, value={k: m.value[k] for k in names}), self.bases)
        else:
            for m, names in pieces:
                whole = _turned(m, ())
                value |= {k: whole[k] for k in names}
            value = _turned(Moment(kind, value), self.bases)
        if not value:
            return None
        for i, (_, names) in zip(indices, pieces, strict=True):
            of_kind[i][1].difference_update(names)
        counted = [m.t for m, _ in pieces if m.t]
        value = {k: value[k] for k in w}
        return Moment(kind, value, min(counted, default=0), self.bases, units)


def settled(beta: float) -> int:
    """Steps after which an average with coefficient `beta` has forgotten its start at zero, to double precision."""
    return max(1, math.ceil(53 * math.log(2) / -math.log(beta))) if beta else 1


def steps_and_bias(m: Moment, beta: float) -> tuple[int, float]:
    """The steps to count for `m` in an average with `beta`, and `1 - beta^t`, what it holds of the unbiased value."""
    t = m.t or settled(beta)
    return t, 1 - beta**t


def counted(kind: str, s: tuple[int, Params], beta: float) -> tuple[Moment, ...]:
    """What the state `(t, average)` tells: `average / (1 - beta^t)`; nothing before the first step."""
    t, a = s
    return (Moment(kind, each(lambda x: x / (1 - beta**t), a), t),) if t else ()


def taken(kind: str, s: tuple[int, Params], beta: float, live: Live, w: Params) -> tuple[int, Params]:
    """The reverse of `counted`: a state whose steps go on being counted from what `live` has of the kind, else `s`.

    The unbiased value is kept, so that a new `beta` makes no jump.
    """
    m = live.claim(kind, w)
    if m is None:
        return s
    t, held = steps_and_bias(m, beta)
    return t, each(lambda x: x * held, m.value)


def uncounted(kind: str, a: Params, scale: float = 1.0) -> tuple[Moment, ...]:
    """What an average without a count tells: `scale * a`; nothing while it is zero, as it is at the start."""
    if not any(bool(x.any()) for x in a.values()):
        return ()
    return (Moment(kind, each(lambda x: x * scale, a)),)


def _turned(m: Moment, to: tuple[Any, ...]) -> Params:
    """The value of `m` in the coordinates that the bases `to` lead to; empty where its kind cannot be turned."""
    old, new = list(m.bases), list(to)
    while old and new and (old[0] is new[0] or _equal(old[0], new[0])):
        old.pop(0)
        new.pop(0)
    if not old and not new:
        return m.value
    if m.kind not in (FIRST, SECOND):
        return {}
    if all(isinstance(b, Sided) for b in (*old, *new)):
        return {k: _by_sides(k, x, old, new, m.kind == SECOND) for k, x in m.value.items()}
    return _through(m.value, old, new) if m.kind == FIRST else _squares(m.value, old, new)


def _equal(a: Any, b: Any) -> bool:
    return not isinstance(a, Sided) and not isinstance(b, Sided) and a == b


def _through(a: Params, old: list[Any], new: list[Any]) -> Params:
    for basis in reversed(old):
        a = basis.back(a)
    for basis in new:
        a = basis.forth(a)
    return a


def _by_sides(k: str, x: Tensor, old: list[Any], new: list[Any], squared: bool) -> Tensor:
    """`L' x R` with the matrices that lead from the old basis to the new, or with their squared entries."""
    if x.ndim < 2:
        return x
    y = x.flatten(1)
    left = _between([b.left.get(k) for b in old], [b.left.get(k) for b in new])
    right = _between([b.right.get(k) for b in old], [b.right.get(k) for b in new])
    if left is not None:
        y = (left.square() if squared else left).T @ y
    if right is not None:
        y = y @ (right.square() if squared else right)
    return y.reshape(x.shape)


def _between(old: list[Tensor | None], new: list[Tensor | None]) -> Tensor | None:
    matrices = [q.T for q in reversed(old) if q is not None] + [q for q in new if q is not None]
    out = None
    for q in matrices:
        out = q if out is None else out @ q
    return out


def _squares(v: Params, old: list[Any], new: list[Any]) -> Params:
    """`v'_i = sum_j Q_ij^2 v_j` for a rotation that is known only as a function.

    Beyond `EXACT` coordinates the mean of `(Q (sqrt(v) z))^2` over `PROBES` fixed draws of random signs `z`, which is
    unbiased, with a relative error of up to `sqrt(2 / PROBES)`.
    """
    root = each(lambda x: x.clamp_min(0).sqrt(), v)
    n, flat = size(v), torch.cat([x.reshape(-1) for x in root.values()])
    out = each(torch.zeros_like, v)
    rng = torch.Generator().manual_seed(0)
    count = n if n <= EXACT else PROBES
    for i in range(count):
        if n <= EXACT:
            probe = torch.zeros_like(flat)
            probe[i] = flat[i]
        else:
            probe = flat * (2 * torch.randint(2, (n,), generator=rng) - 1).to(flat)
        one = _through(like(probe, v), old, new)
        out = {k: x + one[k].square() for k, x in out.items()}
    return out if n <= EXACT else each(lambda x: x / count, out)
