"""One composition for some tensors and another for the rest."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from adamantine.live import Live, Moment
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, joined
from adamantine.symmetry import GROUPS, holds, symmetry_of
from adamantine.tree import Params


@dataclass(frozen=True)
class Route(Part):
    """`yes` for the tensors that the named function `where(name, tensor)` accepts, `no` for the rest."""

    where: Callable[[str, Tensor], bool]
    yes: Part
    no: Part

    def __post_init__(self) -> None:
        if not callable(self.where) or isinstance(self.where, Part):
            raise TypeError(
                f"Route: where is {self.where!r}, but must be a named function of (name, tensor) or roles; give it "
                'first, as in Route(Is("head"), yes, no).'
            )
        for name in ("yes", "no"):
            if not isinstance(getattr(self, name), Part):
                raise TypeError(
                    f"Route: {name} is {getattr(self, name)!r}, but must be a Part; give a composition, or Chain() for "
                    "the direction as it comes."
                )

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What both commute with and acts within single tensors."""
        within = GROUPS["layer rotation"]
        return symmetry_of(holds(self.yes.symmetry) & holds(self.no.symmetry) & within)

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Sum over both."""
        return self.yes.gradients + self.no.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both are."""
        return self.yes.local and self.no.local

    def halves(self, a: Params, w: Params) -> tuple[Params, Params]:
        """`a` split into the tensors for `yes` and those for `no`."""
        yes = {k: x for k, x in a.items() if self.where(k, w[k])}
        return yes, {k: x for k, x in a.items() if k not in yes}

    def init(self, w: Params) -> State:
        """A state for each side."""
        yes, no = self.halves(w, w)
        return self.yes.init(yes), self.no.init(no)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Each side sees only its own tensors of `u`; both see the whole point."""
        yes, no = self.halves(u, p.w)
        a, sy = self.yes.update(yes, s[0], p) if yes else (yes, s[0])
        b, sn = self.no.update(no, s[1], p) if no else (no, s[1])
        return {k: a[k] if k in a else b[k] for k in u}, (sy, sn)

    def response(self, s: State, p: Point) -> Response | None:
        """Each side's of its own tensors; None where either has none."""
        sides = zip((self.yes, self.no), s, self.halves(p.w, p.w), strict=True)
        told = [x.response(sx, p.given({k: p.grad[k] for k in w}, w)) for x, sx, w in sides if w]
        both = [a for a in told if a is not None]
        return joined(both, p.grad, p.w) if len(both) == len(told) else None

    def __repr__(self) -> str:
        """The constructor call, with the function by its name."""
        return f"Route({getattr(self.where, '__qualname__', None) or repr(self.where)}, {self.yes!r}, {self.no!r})"

    def read(self, w: Params, s: State) -> Params:
        """Each side reads its own tensors."""
        yes, no = self.halves(w, w)
        a, b = self.yes.read(yes, s[0]), self.no.read(no, s[1])
        return {k: a[k] if k in a else b[k] for k in w}

    def renew(self, s: State, p: Point) -> State:
        """Renew both sides, each at its own tensors."""
        sides = zip((self.yes, self.no), s, self.halves(p.w, p.w), strict=True)
        return tuple(x.renew(sx, p.given({k: p.grad[k] for k in w}, w)) if w else sx for x, sx, w in sides)

    @property
    def units(self) -> tuple[str, ...]:
        """Those of both sides, where they agree."""
        return self.yes.units if self.yes.units == self.no.units else (repr(self),)

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """Both sides', each of its own tensors."""
        yes, no = self.halves(w, w)
        return (*self.yes.moments(s[0], yes), *self.no.moments(s[1], no))

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """Each side for its own tensors."""
        yes, no = self.halves(w, w)
        return self.yes.adopt(s[0], live, yes), self.no.adopt(s[1], live, no)

    def state_bytes(self, w: Params) -> int:
        """Sum over both sides."""
        yes, no = self.halves(w, w)
        return self.yes.state_bytes(yes) + self.no.state_bytes(no)
