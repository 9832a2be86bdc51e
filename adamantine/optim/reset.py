"""Forgetting at a change of the objective: resetting the optimizer (Asadi et al., arXiv:2306.17833)."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.optim.adam import adam
from adamantine.optim.inside import inside
from adamantine.optim.momentum import Ema, Momentum
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.step_counts import each_count
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response
from adamantine.route import Route
from adamantine.tree import Params, dot
from adamantine.until import Until

COUNT = torch.float64  # a coefficient to the power of a whole-numbered tensor would be of single precision


@dataclass(frozen=True)
class Reset(Part):
    """`inner`, whose state goes back to `inner.init` when the objective changes; of `what="first"` the momentum alone.

    The momentum is what `Ema` and `Momentum` hold, alone, in a chain or behind a `Route`. With `opposed` the state is
    reset only where momentum and the first gradient of the new objective point away from each other, `<m, g> <= 0` over
    all tensors that it is given; counts of steps are then kept as tensors, since whether they start again depends on
    data. The first step of Adam after a reset is `lr * sign(g)`, as long as any.
    """

    inner: Part
    what: Literal["all", "first"] = "all"
    opposed: bool = False

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        limits.choice(self, get_args(Literal["all", "first"]), what=self.what)
        if any(isinstance(x, Until) for x in inside(self.inner)):
            raise ValueError(
                "Reset: inner has an Until, which would go back to its first stage; put Reset inside it, as in "
                "Until(0.5, Reset(a), b)."
            )

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's: inner products of all coordinates hold under every rotation."""
        return self.inner.symmetry

    @property
    def gradients(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part's update is; what is opposed is decided for all tensors at a renewal."""
        return self.inner.local

    def init(self, w: Params) -> State:
        """The inner part's."""
        s = self.inner.init(w)
        return _counts(s) if self.opposed else s

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner update."""
        return self.inner.update(u, s, p)

    def within(self, w: Params, p: Point) -> tuple[Part, Params, Point] | None:
        """Between renewals it is the inner part, with counts that text for a kernel can hold."""
        return None if self.opposed else (self.inner, w, p)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return self.inner.read(w, s)

    def renew(self, s: State, p: Point) -> State:
        """The state at the start, or what the inner part makes of it, in whole or but for the momentum.

        Raises ValueError where there is no momentum to look at.
        """
        s, new = self.inner.renew(s, p), self.init({**p.w})
        held = _momenta(self.inner, s)
        if not held and (self.opposed or self.what == "first"):
            raise ValueError(
                f"Reset: no Ema or Momentum keeps a momentum in {self.inner!r}; put one in a chain, or reset all of "
                "the state at every renewal."
            )
        new = new if self.what == "all" else _instead(self.inner, s, new)
        if not self.opposed:
            return new
        along = torch.stack([dot(m, {k: p.grad[k] for k in m}) for m in held]).sum()
        return _where(along <= 0, new, s)

    def response(self, s: State, p: Point) -> Response | None:
        """The inner part's."""
        return self.inner.response(s, p)

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.inner.units

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The inner part's."""
        return tuple(replace(m, t=int(m.t)) for m in self.inner.moments(s, w))

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """For the inner part."""
        s = self.inner.adopt(s, live, w)
        return _counts(s) if self.opposed else s

    def state_bytes(self, w: Params) -> int:
        """The inner part's, and 8 for every count that is a tensor."""
        found: list[int] = []
        if self.opposed:
            each_count(found.append, self.inner.init({k: torch.empty_like(x, device="meta") for k, x in w.items()}))
        return self.inner.state_bytes(w) + COUNT.itemsize * len(found)


def _momenta(part: Part, s: State) -> list[Params]:
    """The momenta in the state of `part`, each by tensor."""
    if isinstance(part, Ema):
        return [s[1]] if s[1] else []
    if isinstance(part, Momentum):
        return [s] if s else []
    if isinstance(part, Chain):
        return [m for x, sx in zip(part.parts, s, strict=True) for m in _momenta(x, sx)]
    return _momenta(part.yes, s[0]) + _momenta(part.no, s[1]) if isinstance(part, Route) else []


def _instead(part: Part, s: State, new: State) -> State:
    """The state `s` with the momenta of `new`, and their counts."""
    if isinstance(part, (Ema, Momentum)):
        return new
    if isinstance(part, Chain):
        return tuple(_instead(x, sx, nx) for x, sx, nx in zip(part.parts, s, new, strict=True))
    return tuple(map(_instead, (part.yes, part.no), s, new)) if isinstance(part, Route) else s


def _counts(s: Any) -> Any:
    """The state with whole numbers as tensors."""
    return each_count(lambda x: torch.tensor(x, dtype=COUNT), s)


def _where(yes: Tensor, a: Any, b: Any) -> Any:
    """`a` or `b`, tensor by tensor; what is no tensor is the same in both, or `a`'s."""
    if isinstance(a, dict):
        return {k: _where(yes, x, b[k]) for k, x in a.items()}
    if isinstance(a, tuple):
        return tuple(_where(yes, x, y) for x, y in zip(a, b, strict=True))
    return torch.where(yes, a, b) if isinstance(a, Tensor) else a


def adam_reset(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    schedule: Schedule = Constant(),
    what: Literal["all", "first"] = "all",
    opposed: bool = False,
) -> Part:
    """`Reset(Ema >> Rms >> Lr)`: Adam that starts anew at each objective (arXiv:2306.17833)."""
    return Reset(adam(lr, beta1, beta2, eps, schedule), what, opposed)
