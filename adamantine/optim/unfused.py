"""Optimizing what is fused in one tensor part by part, each matrix `[out, in]`, or each attention head by itself.

Why: two matrices orthogonalized as one are not the two orthogonalized, and Adam-mini (Zhang et al., arXiv:2406.16793)
gives every head of queries and keys a second moment of its own.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.optim.basis import read_in, seen_in, update_in
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Number, Response
from adamantine.role import ROLES, Tag, Tags, bind, needed
from adamantine.symmetry import GROUPS, holds, symmetry_of
from adamantine.tree import Params


@dataclass(frozen=True)
class Cuts:
    """The change of names and shapes from whole tensors to their parts, and back; numbers stay as they are.

    A tensor `[in, out]` is turned to `[out, in]`; a fused one becomes `NAME/ROLE` for each of its parts; one with a
    role in `heads` is seen as `[heads, out / heads, in]` ("output", whose inputs are the heads': `[heads, out, in /
    heads]`; a stack of experts keeps its first axis). Raises ValueError where a part does not fit its tensor.
    """

    tags: Tags
    heads: tuple[str, ...] = ()

    @property
    def normalizes(self) -> frozenset[str]:
        """All groups where no tensor changes; otherwise those that know no tensors."""
        return frozenset(GROUPS) if not self._changed else frozenset({"rotation", "signed permutation"})

    @cached_property
    def _changed(self) -> bool:
        return any(tag.cuts or tag.transposed or self._headed(tag) for _, tag in self.tags.pairs)

    def _headed(self, tag: Tag) -> bool:
        return tag.role in self.heads and tag.heads > 0

    @cached_property
    def _parts(self) -> dict[str, tuple[tuple[str, Tag], ...]]:
        """Name and tag of each part of every tensor."""
        return {name: _parts(name, tag) for name, tag in self.tags.pairs}

    @cached_property
    def inside(self) -> Tags:
        """The table of the parts; whole names stay in it."""
        parts = {k: tag for pairs in self._parts.values() for k, tag in pairs}
        return Tags(tuple((dict(self.tags.pairs) | parts).items()))

    def forth(self, a: Params) -> Params:
        """The parts of every tensor."""
        out = {}
        for name, x in a.items():
            tag, axis = self.tags[name], _axis(self.tags[name])
            x = _turned(tag, x)
            sizes = [cut.size for cut in tag.cuts] or [x.shape[axis] if x.ndim else 1]
            if tag.cuts and sum(sizes) != x.shape[axis]:
                raise ValueError(
                    f"Unfused: the parts of {name!r} add to {sum(sizes)} outputs, and it has {x.shape[axis]}; "
                    "give the table of this network."
                )
            pieces = x.split(sizes, axis) if tag.cuts else (x,)
            for (k, part), piece in zip(self._parts[name], pieces, strict=True):
                out[k] = self._viewed(k, part, piece)
        return out

    def back(self, a: Params) -> Params:
        """The tensors that these are the parts of, in the same order."""
        whole: dict[str, list[Tensor]] = {}
        for k, x in a.items():
            name = k.partition("/")[0]
            part = self.inside[k]
            whole.setdefault(name, []).append(_joined(part, x) if self._headed(part) and x.ndim > 2 else x)
        out = {}
        for name, pieces in whole.items():
            tag = self.tags[name]
            x = torch.cat(pieces, _axis(tag)) if tag.cuts else pieces[0]
            out[name] = _turned(tag, x)
        return out

    def _viewed(self, name: str, tag: Tag, x: Tensor) -> Tensor:
        if not self._headed(tag) or x.ndim < 2:
            return x
        axis = 1 if tag.role == "output" else 0
        if x.ndim > 2 or x.shape[axis] % tag.heads:
            raise ValueError(
                f"Unfused: {name!r} of shape {tuple(x.shape)} does not divide into {tag.heads} heads; "
                f"leave {tag.role!r} out of heads."
            )
        return x.unflatten(axis, (tag.heads, -1)).movedim(axis, 0)


def _parts(name: str, tag: Tag) -> tuple[tuple[str, Tag], ...]:
    if not tag.cuts:
        return ((name, replace(tag, transposed=False)),)
    roles = [cut.role for cut in tag.cuts]
    twice = [role if roles.count(role) == 1 else f"{role}{i}" for i, role in enumerate(roles)]
    return tuple(
        (f"{name}/{word}", Tag(cut.role, heads=cut.heads, experts=tag.experts))
        for word, cut in zip(twice, tag.cuts, strict=True)
    )


def _axis(tag: Tag) -> int:
    return 1 if tag.experts else 0


def _turned(tag: Tag, x: Tensor) -> Tensor:
    axis = _axis(tag)
    return x.transpose(axis, axis + 1) if tag.transposed and x.ndim > axis + 1 else x


def _joined(tag: Tag, x: Tensor) -> Tensor:
    axis = 1 if tag.role == "output" else 0
    return x.movedim(0, axis).flatten(axis, axis + 1)


@dataclass(frozen=True)
class Unfused(Part):
    """`inner` on the parts of fused tensors under the names `NAME/query`, with transposed ones turned to `[out, in]`.

    Tensors with one of the roles `heads` are shown head by head, `[heads, out / heads, in]`. Inside, roles are those
    of the parts: `Unfused(Route(Is("query", "key"), a, b))`. Weights, gradient and curvature are cut alike.
    """

    inner: Part = Ema() >> Rms()
    heads: tuple[str, ...] = ()
    tags: Tags | None = None

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        for role in self.heads:
            if role not in ROLES:
                raise ValueError(f"Unfused: role {role!r} in heads is unknown; give some of {', '.join(ROLES)}.")

    @cached_property
    def _cuts(self) -> Cuts:
        return Cuts(needed("Unfused", self.tags), self.heads)

    @cached_property
    def _inside(self) -> Part:
        """The inner part, told the roles of the parts."""
        return bind(self.inner, self._cuts.inside)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's; where the table cuts or turns a tensor, only what knows no tensors."""
        known = frozenset({"rotation", "signed permutation"}) if self.tags is None else self._cuts.normalizes
        kept = holds(self.inner.symmetry) & known
        return symmetry_of(frozenset().union(*(GROUPS[g] for g in kept)))

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part is."""
        return self.inner.local

    def init(self, w: Params) -> State:
        """The inner part's state for the parts."""
        return self._inside.init(self._cuts.forth(w))

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner update of the parts, joined."""
        return update_in(self._cuts, self._inside, u, s, p)

    def within(self, w: Params, p: Point) -> tuple[Part, Params, Point]:
        """The inner part, and the parts of every tensor as views."""
        q = seen_in(self._cuts, w, p)
        return self._inside, {k: q.w[k] for k in q.grad}, q

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return read_in(self._cuts, self._inside, w, s)

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews, at the point cut alike."""
        return self._inside.renew(s, seen_in(self._cuts, p.w, p))

    def response(self, s: State, p: Point) -> Response | None:
        """The inner part's, joined; None where that works in a basis."""
        inner = self._inside.response(s, seen_in(self._cuts, p.w, p))
        if inner is None or inner.basis is not None:
            return None
        cut = self._cuts.forth(p.w)
        told = [{k: _spread(y[k], x) for k, x in cut.items()} for y in (inner.scale, inner.flip, inner.pull)]
        out = None if inner.out is None else self._cuts.back(inner.out)
        scale, flip, pull = ({k: _plain(x) for k, x in self._cuts.back(y).items()} for y in told)
        return Response(scale, flip, pull, None, out)

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.inner.units

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The inner part's, joined; of a tensor whose parts do not all tell, nothing."""
        cut = [self._cuts.forth({k: x}) for k, x in w.items()]
        held = Live(self._inside.moments(s, self._cuts.forth(w))).through(cut, self._cuts.back)
        return tuple(m for m, _ in held.unclaimed)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """For the inner part, cut alike."""
        groups = [w] if live.bases else [{k: x} for k, x in w.items()]
        return self._inside.adopt(s, live.through(groups, self._cuts.forth), self._cuts.forth(w))

    def state_bytes(self, w: Params) -> int:
        """The inner part's, for the parts."""
        return self._inside.state_bytes(self._cuts.forth(w))


def _spread(x: Number, like: Tensor) -> Tensor:
    return torch.as_tensor(x, dtype=like.dtype, device=like.device).expand_as(like)


def _plain(x: Tensor) -> Number:
    """`x` as one number, where it is the same everywhere."""
    return float(x.flatten()[0]) if bool((x == x.flatten()[0]).all()) else x
