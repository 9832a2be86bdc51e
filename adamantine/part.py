"""An optimizer is a chain of parts; a part maps one update direction to another.

The direction starts as the gradient and ends as what is subtracted from the weights, so
`Momentum(0.9) >> Lr(0.1)` is SGD with momentum and reads left to right.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from adamantine.kernel import Fused
from adamantine.live import Live, Moment
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.symmetry import GROUPS, holds, symmetry_of
from adamantine.tree import Params

State = Any


@dataclass(frozen=True)
class Part:
    """One idea of an optimizer. Concrete parts are final frozen dataclasses; fields are hyperparameters.

    `symmetry` names the largest group of reparametrizations the part commutes with (`GROUPS`); the suite
    checks the claim both ways. `gradients` is how many gradients a step computes beyond the first, on average,
    with a Hessian-vector product counted as two. `local` says whether the update of a tensor depends on that
    tensor's gradient, weight and state alone, so that tensors can be stepped one by one. `inherits` says that the part
    cannot run before it has taken over (`adopt`) what another has learnt.
    """

    symmetry: ClassVar[Any] = "none"
    gradients: ClassVar[Any] = 0
    local: ClassVar[Any] = True
    inherits: ClassVar[bool] = False

    @property
    def units(self) -> tuple[str, ...]:
        """What the direction is scaled by on its way through, for those who average it behind; () for nothing."""
        return (type(self).__name__,)

    def init(self, w: Params) -> State:
        """State before the first step: nested tuples and dicts of tensors and plain numbers."""
        return ()

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Turn the incoming direction `u` into the outgoing one; neither `u` nor `s` is changed in place."""
        raise NotImplementedError

    def fused(self, s: State, p: Point) -> Fused | None:
        """The same step as C text over state changed in place, for `inplace.step`; None where there is none.

        Asked of tensors of one `kind` only, it may answer where it could not for all together.
        """
        return None

    def within(self, w: Params, p: Point) -> "tuple[Part, Params, Point] | None":
        """For a wrapper that only looks at the same memory otherwise: what it wraps, and what that sees."""
        return None

    def kind(self, x: Tensor) -> Any:
        """What tells tensors apart that take different text."""
        return None

    def read(self, w: Params, s: State) -> Params:
        """The weights to evaluate, when they are not the ones being stepped (averaging)."""
        return w

    def renew(self, s: State, p: Point) -> State:
        """The objective has changed (new rollout, new target network): what becomes of the state."""
        return s

    def response(self, s: State, p: Point) -> Response | None:
        """How the part, in the state `s` that it has after the step at `p`, answers a small change of the gradient.

        `p.grad` is the direction that came in, and `p.w` names its tensors. None where no such answer is linear or none
        is known: signs, polar factors, masks, clipped coordinates, a direction divided by its own size, projections
        that drop some of it, gradients from elsewhere, weights that jump back.
        """
        return None

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """What the state holds of averages, whatever way it keeps them, for another part to go on from."""
        return ()

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """The state `s` with what it has a place for taken from `live`; `s` itself where there is nothing for it."""
        return s

    def state_bytes(self, w: Params) -> int:
        """Bytes of tensors kept between steps for the parameters `w`."""
        return 0

    def __rshift__(self, other: "Part") -> "Chain":
        """`a >> b`: the direction passes through `a`, then `b`."""
        if not isinstance(other, Part):
            return NotImplemented
        return Chain((*_parts(self), *_parts(other)))


def _parts(x: Part) -> tuple[Part, ...]:
    return x.parts if isinstance(x, Chain) else (x,)


@dataclass(frozen=True)
class Chain(Part):
    """Parts applied in order; written `a >> b`."""

    parts: tuple[Part, ...] = ()

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What every part commutes with."""
        return common(self.parts)

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Sum over the parts."""
        return sum(x.gradients for x in self.parts)

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether every part is."""
        return all(x.local for x in self.parts)

    def init(self, w: Params) -> State:
        """One state per part."""
        return tuple(x.init(w) for x in self.parts)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Pass `u` through every part."""
        new = []
        for x, sx in zip(self.parts, s, strict=True):
            u, sx = x.update(u, sx, p)
            new.append(sx)
        return u, tuple(new)

    def read(self, w: Params, s: State) -> Params:
        """Pass `w` through every part's `read`."""
        for x, sx in zip(self.parts, s, strict=True):
            w = x.read(w, sx)
        return w

    def renew(self, s: State, p: Point) -> State:
        """Renew every part."""
        return tuple(x.renew(sx, p) for x, sx in zip(self.parts, s, strict=True))

    def response(self, s: State, p: Point) -> Response | None:
        """Every part's, one after another, each at the direction that the one before handed on."""
        out, u = response(p.w), None
        for x, sx in zip(self.parts, s, strict=True):
            own = x.response(sx, p if u is None else p.given(u))
            out = None if own is None else out.then(own)
            if own is None or out is None:
                return None
            u = own.handed_on(p.grad if u is None else u, p.w)
        return replace(out, out=u)

    @property
    def units(self) -> tuple[str, ...]:
        """Every part's, in order."""
        return sum((x.units for x in self.parts), ())

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """Every part's, in order."""
        held, units = [], ()
        for x, sx in zip(self.parts, s, strict=True):
            held += [m.behind(units) for m in x.moments(sx, w)]
            units += x.units
        return tuple(held)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """Every part in order takes what it has a place for."""
        new = []
        for x, sx in zip(self.parts, s, strict=True):
            new.append(x.adopt(sx, live, w))
            live = live.behind(x.units)
        return tuple(new)

    def state_bytes(self, w: Params) -> int:
        """Sum over the parts."""
        return sum(x.state_bytes(w) for x in self.parts)

    def __repr__(self) -> str:
        """`a >> b`, the expression that builds it."""
        return " >> ".join(map(repr, self.parts)) if len(self.parts) > 1 else f"Chain({self.parts!r})"


def common(parts: tuple[Part, ...]) -> str:
    """The symmetry that all `parts` have."""
    return symmetry_of(GROUPS["rotation"].intersection(*(holds(x.symmetry) for x in parts)))
