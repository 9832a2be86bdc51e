"""Running an optimizer in other coordinates (the method of Maes, Zhang et al., arXiv:2410.19964).

The weights stay where they are: the gradient is rotated, the inner part takes its step in the rotated
coordinates, and the step is rotated back. The iterates are those of the inner part on `f(back(z))`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.part import Part, State
from adamantine.point import Batch, Draw, Point, Task
from adamantine.response import Response
from adamantine.restricted import PREDICTIONS
from adamantine.symmetry import GROUPS, holds, symmetry_of
from adamantine.tree import Params


@runtime_checkable
class Basis(Protocol):
    """An orthogonal change of coordinates that keeps the names and shapes of all tensors."""

    @property
    def normalizes(self) -> frozenset[str]:
        """The groups of `part.GROUPS` that conjugation by this change of coordinates maps to themselves."""
        ...

    def forth(self, a: Params) -> Params:
        """Coordinates of `a` in this basis."""
        ...

    def back(self, a: Params) -> Params:
        """Inverse of `forth`."""
        ...


@dataclass(frozen=True)
class Identity:
    """The coordinates as they are."""

    @property
    def normalizes(self) -> frozenset[str]:
        """Every group."""
        return frozenset(GROUPS)

    def forth(self, a: Params) -> Params:
        """`a`."""
        return a

    def back(self, a: Params) -> Params:
        """`a`."""
        return a


@dataclass(frozen=True)
class TaskIn:
    """`task` as a function of rotated weights; tensors in `rest` take no part and stay as they are.

    It keeps curvature, per-example gradients and losses elsewhere right for an inner part that asks for them.
    """

    task: Task
    basis: Basis
    rest: Params

    @property
    def splits(self) -> bool:
        """As the task says."""
        return getattr(self.task, "splits", True)

    def __getattr__(self, name: str) -> Any:
        """What the task predicts, at the weights rotated back."""
        if name not in PREDICTIONS:
            raise AttributeError(f"{type(self).__name__} has no {name!r}.")
        found = getattr(self.task, name)
        return lambda w, batch: found(self._weights(w), batch)

    def _weights(self, w: Params) -> Params:
        return {**self.rest, **self.basis.back(w)}

    def init(self, rng: torch.Generator) -> Params:
        """The task's initial weights, rotated."""
        w = self.task.init(rng)
        return self.basis.forth({k: x for k, x in w.items() if k not in self.rest})

    def source(self, rng: torch.Generator) -> Draw:
        """The task's batches, drawn at the weights rotated back."""
        draw: Callable[[Params], Batch] = self.task.source(rng)
        return lambda w: draw(self._weights(w))

    def losses(self, w: Params, batch: Batch) -> Tensor:
        """The task's losses at the weights rotated back, `[B]`."""
        return self.task.losses(self._weights(w), batch)

    def score(self, w: Params) -> dict[str, float]:
        """The task's score at the weights rotated back."""
        return self.task.score(self._weights(w))


class Turned(Mapping):
    """Weights in a basis, turned when somebody looks: most parts never do, and turning costs as much as a step."""

    def __init__(self, basis: Basis, w: Params) -> None:
        self._basis, self._w = basis, w

    @cached_property
    def _turned(self) -> Params:
        return self._basis.forth(self._w)

    def __getitem__(self, name: str) -> Tensor:
        return self._turned[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._turned)

    def __len__(self) -> int:
        return len(self._turned)


def seen_in(basis: Basis, keys: Params, p: Point, grad: Params | None = None) -> Point:
    """The point `p` as it looks in `basis`, restricted to the tensors named by `keys`.

    `grad` is the rotated gradient, where it is known already.
    """
    if grad is None:
        grad = basis.forth({k: p.grad[k] for k in keys})
    w = cast(Params, Turned(basis, {k: p.w[k] for k in keys}))
    rest = {k: x for k, x in p.w.items() if k not in keys}
    return replace(p.given(grad, w), task=TaskIn(p.task, basis, rest))


def update_in(
    basis: Basis, inner: Part, u: Params, s: State, p: Point, grad: Params | None = None
) -> tuple[Params, State]:
    """One update of `inner` in `basis`; the direction is rotated only where it is not the gradient itself."""
    q = seen_in(basis, u, p, grad)
    raw = all(x is p.grad[k] for k, x in u.items())
    out, s = inner.update(q.grad if raw else basis.forth(u), s, q)
    return basis.back(out), s


def read_in(basis: Basis, inner: Part, w: Params, s: State) -> Params:
    """The weights that `inner` would have evaluated; `w` itself, without rounding, where it leaves them alone."""
    z = basis.forth(w)
    out = inner.read(z, s)
    return w if out is z else basis.back(out)


def told_in(basis: Basis, inner: Part, s: State, w: Params) -> tuple[Moment, ...]:
    """The moments of `inner`, marked as being in `basis`."""
    held = inner.moments(s, w)
    return held if isinstance(basis, Identity) else tuple(m.within(basis) for m in held)


def answered_in(basis: Basis, inner: Part, s: State, p: Point) -> Response | None:
    """The response of `inner` in `basis`, told from outside."""
    held = inner.response(s, seen_in(basis, p.w, p))
    return held if held is None or isinstance(basis, Identity) else held.within(basis)


def reprojected(old: Basis, new: Basis, inner: Part, s: State, w: Params) -> State:
    """The state of `inner` as it is in the basis `new`, given that it is `s` in the basis `old`."""
    held = told_in(old, inner, s, w)
    return inner.adopt(s, Live(held).seen_in(new), w) if held else s


@dataclass(frozen=True)
class InBasis(Part):
    """`inner` in the fixed coordinates of `basis`: `back(inner(forth(u)))`, with gradient and weights rotated."""

    inner: Part = Ema() >> Rms()
    basis: Any = Identity()

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        if not isinstance(self.basis, Basis):
            raise TypeError(
                f"InBasis: basis is a {type(self.basis).__name__}, but must have forth, back and normalizes; "
                'give one, as in BlockHaar("layer").'
            )

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's groups that the basis maps to themselves, and all they contain."""
        kept = holds(self.inner.symmetry) & self.basis.normalizes
        return symmetry_of(frozenset().union(*(GROUPS[g] for g in kept)))

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part is and the basis mixes no two tensors."""
        return self.inner.local and "layer rotation" in self.basis.normalizes

    def init(self, w: Params) -> State:
        """The inner part's state for the rotated weights."""
        return self.inner.init(self.basis.forth(w))

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner update, rotated back."""
        return update_in(self.basis, self.inner, u, s, p)

    def response(self, s: State, p: Point) -> Response | None:
        """The inner part's, in this basis."""
        return answered_in(self.basis, self.inner, s, p)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return read_in(self.basis, self.inner, w, s)

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews, at the rotated point."""
        return self.inner.renew(s, seen_in(self.basis, p.w, p))

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.inner.units

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The inner part's, in this basis."""
        return told_in(self.basis, self.inner, s, w)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """For the inner part, turned into this basis."""
        return self.inner.adopt(s, live if isinstance(self.basis, Identity) else live.seen_in(self.basis), w)

    def state_bytes(self, w: Params) -> int:
        """The inner part's; the rotation itself is derived from its seed."""
        return self.inner.state_bytes(w)
