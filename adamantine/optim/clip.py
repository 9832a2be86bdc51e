"""Clipping by the global norm (Pascanu et al., arXiv:1211.5063), as `torch.nn.utils.clip_grad_norm_` does it."""

from dataclasses import dataclass, replace
from typing import ClassVar

from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params, each, norm


@dataclass(frozen=True)
class Clip(Part):
    """Run `inner` on a gradient scaled by `min(1, norm / (|u| + 1e-6))`, `|u|` over all tensors it is given.

    A wrapper, because parts such as `Rms` look at the raw gradient and not at the direction: the same factor
    scales both, so that `Clip(1.0, adamw(1e-3))` is torch's loop with clipping before the step. Without
    `inner` only the direction is clipped.
    """

    norm: float = 1.0
    inner: Part = Chain()
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.positive(self, norm=self.norm)
        limits.part(self, inner=self.inner)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's; the norm itself commutes with every rotation."""
        return self.inner.symmetry

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    def init(self, w: Params) -> State:
        """The inner part's."""
        return self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """What the inner part makes of the clipped direction, at a point whose gradient is scaled alike."""
        factor = (self.norm / (norm(u) + 1e-6)).clamp(max=1.0)
        clipped = each(lambda x: x * factor, u)
        grad = clipped if u is p.grad else each(lambda x: x * factor, p.grad)
        return self.inner.update(clipped, s, p.given(grad))

    def response(self, s: State, p: Point) -> Response | None:
        """The inner part's, with the factor of this step held still."""
        factor = (self.norm / (norm(p.grad) + 1e-6)).clamp(max=1.0)
        inner = self.inner.response(s, p.given(each(lambda x: x * factor, p.grad)))
        told = None if inner is None else response(p.w, factor).then(inner)
        return None if told is None or inner is None else replace(told, out=inner.out)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return self.inner.read(w, s)

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews."""
        return self.inner.renew(s, p)

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's: clipping is for the rare gradient, and leaves averages what they are."""
        return self.inner.units

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The inner part's."""
        return self.inner.moments(s, w)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """For the inner part."""
        return self.inner.adopt(s, live, w)

    def state_bytes(self, w: Params) -> int:
        """The inner part's."""
        return self.inner.state_bytes(w)
