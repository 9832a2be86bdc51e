"""TRAC (Muppidi et al., arXiv:2405.16642): how far to follow an optimizer from the weights at the start, untuned."""

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.adam import adam
from adamantine.optim.erfi import erfi
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params, dot, each, size_bytes

ERFI = 0.9534382692512609  # erfi(1 / sqrt(2))


@dataclass(frozen=True)
class Trac(Part):
    """Weights at `w0 + S D`, where `D` is what `inner` has stepped in sum and `S = max(0, sum_j s_j)` one number.

    With `h = <g, D>`, for each coefficient `v_j <- beta_j^2 v_j + h^2`, `sigma_j <- beta_j sigma_j - h` and
    `s_j = (eps / erfi(1 / sqrt(2))) erfi(sigma_j / (sqrt(2 v_j) + eps))`: `S` grows while the gradients agree with the
    way come, and falls towards 0, which leads back to `w0`, where they do not. `eps` is the scale to begin with. `D`
    is kept; the authors' code recovers it from the weights, and is short of it by `S / (S + eps)` while `S` is small.
    """

    inner: Part
    eps: float = 1e-8
    betas: tuple[float, ...] = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        limits.positive(self, eps=self.eps)
        if not isinstance(self.betas, tuple) or not self.betas:
            raise ValueError(f"Trac: betas = {self.betas!r} must be a tuple of numbers; give some, as in (0.9, 0.99).")
        limits.betas(self, **{f"betas[{i}]": x for i, x in enumerate(self.betas)})

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's: inner products hold under every rotation."""
        return self.inner.symmetry

    @property
    def gradients(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    def init(self, w: Params) -> State:
        """`w0 = w`, `D = 0`, `sigma = eps` as the authors have it, `v = 0`."""
        like = next(iter(w.values()), torch.zeros(()))
        sigma = torch.full((len(self.betas),), self.eps, dtype=like.dtype, device=like.device)
        return each(torch.clone, w), each(torch.zeros_like, w), sigma, torch.zeros_like(sigma), self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """What leads from the weights to `w0 + S D`."""
        start, way, sigma, v, held = s
        h = dot({k: p.grad[k] for k in u}, way)
        u, held = self.inner.update(u, held, p)
        beta = sigma.new_tensor(self.betas)
        sigma, v = beta * sigma - h, beta.square() * v + h.square()
        scale = self.scale(sigma, v)
        way = {k: way[k] - x for k, x in u.items()}
        return {k: p.w[k] - (start[k] + scale * x) for k, x in way.items()}, (start, way, sigma, v, held)

    def scale(self, sigma: Tensor, v: Tensor) -> Tensor:
        """`S`."""
        found = self.eps / ERFI * erfi(sigma / (sqrt(2) * v.sqrt() + self.eps))
        return found.sum().clamp_min(0.0)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return self.inner.read(w, s[-1])

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews; the way come stays."""
        return *s[:-1], self.inner.renew(s[-1], p)

    def state_bytes(self, w: Params) -> int:
        """Two copies of the weights, two numbers for each coefficient, and the inner part's."""
        like = next(iter(w.values()), torch.zeros(()))
        return 2 * size_bytes(w) + 2 * len(self.betas) * like.element_size() + self.inner.state_bytes(w)


def trac(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    schedule: Schedule = Constant(),
) -> Part:
    """`Trac(Ema >> Rms >> Lr)`: TRAC around Adam (arXiv:2405.16642, algorithms 1 and 2)."""
    return Trac(adam(lr, beta1, beta2, eps, schedule))
