"""Clipping by the global norm (Pascanu et al. 2013, arXiv:1211.5063)."""

from dataclasses import dataclass, field

import torch

from adamantine import tree
from adamantine.optim.lr import Lr
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class Clip(Part):
    """`inner` sees the gradient scaled by `min(1, norm / (|g| + 1e-6))`, as after torch's `clip_grad_norm_`.

    A wrapper, because parts inside read the gradient itself (the second moment does), not only the direction.
    """

    norm: float = 1.0
    inner: Part = field(default_factory=Lr)

    def __post_init__(self) -> None:
        """Refuse a norm that is not positive."""
        if not self.norm > 0:
            raise ValueError(f"Clip: norm is {self.norm}; it must be positive.")

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The norm is rotation-invariant, so `inner` decides."""
        return self.inner.symmetry

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As `inner`."""
        return self.inner.gradients

    def init(self, w: Params) -> State:
        """`inner`'s state."""
        return self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Scale the gradient, then let `inner` answer."""
        factor = torch.clamp(self.norm / (tree.norm(p.grad) + 1e-6), max=1.0)
        g = tree.each(lambda x: x * factor, p.grad)
        v = g if u is p.grad else tree.each(lambda x: x * factor, u)
        return self.inner.update(v, s, p.given(g))

    def read(self, w: Params, s: State) -> Params:
        """As `inner` reads."""
        return self.inner.read(w, s)

    def renew(self, s: State, p: Point) -> State:
        """Renew `inner`."""
        return self.inner.renew(s, p)

    def state_bytes(self, w: Params) -> int:
        """As `inner`."""
        return self.inner.state_bytes(w)
