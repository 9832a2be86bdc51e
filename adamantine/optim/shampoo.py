"""Shampoo: a preconditioner for each side of a matrix (Gupta, Koren & Singer, arXiv:1802.09568)."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.graft import Graft
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema, Momentum
from adamantine.optim.polar import precise
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.optim.symmetric_sides import between
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response
from adamantine.tree import Params, size_bytes

Grafted = Literal["none", "sgd", "adam"]


def sided(x: Tensor) -> Tensor:
    """`x` as a matrix in float32 at least: `x.flatten(1)`, a vector as one column."""
    return precise(x.flatten(1) if x.ndim > 1 else x.reshape(-1, 1))


@dataclass(frozen=True)
class Roots(Part):
    """`L^(-1/4) u R^(-1/4)`, with `L` and `R` the sums of `G G'` and `G' G` over the gradients so far, plus `eps`.

    With `beta < 1` they are averages, corrected for their start (arXiv:2309.06497). A vector has one side and the
    exponent -1/2. Of a side above `max_side` only the diagonal is kept. The roots are found by `eigh` at the first step
    and every `every` steps. It commutes with left-right rotations where no side is above `max_side`.
    """

    beta: float = 1.0
    eps: float = 1e-6
    every: int = 1
    max_side: int = 1024
    symmetry: ClassVar[str] = "left-right rotation"

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise ValueError(f"Roots: beta = {self.beta!r} must lie in [0, 1]; give 1 for sums, 0.99 for averages.")
        limits.positive(self, eps=self.eps)
        limits.whole(self, every=self.every, max_side=self.max_side)

    def _sides(self, w: Params) -> tuple[Params, Params]:
        """Zero for each side of each tensor: a square matrix, or its diagonal."""
        out: tuple[Params, Params] = {}, {}
        for k, x in w.items():
            y = sided(x)
            for side, n in zip(out, y.shape[: 1 if x.ndim < 2 else 2], strict=False):
                side[k] = y.new_zeros((n, n) if n <= self.max_side else (n,))
        return out

    def init(self, w: Params) -> State:
        """`t = 0`, the sums and the roots, zero."""
        return 0, self._sides(w), self._sides(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The direction between the roots."""
        t, sums, roots = s
        g = {k: sided(p.grad[k]) for k in u}
        left = {k: self._added(x, g[k]) for k, x in sums[0].items()}
        right = {k: self._added(x, g[k].T) for k, x in sums[1].items()}
        if t % self.every == 0:
            weight = 1.0 if self.beta == 1 else 1 - self.beta ** (t + 1)
            power = {k: -0.5 / len([side for side in sums if k in side]) for k in u}
            roots = tuple(
                {k: self._root(x / weight, old[k], power[k]) for k, x in side.items()}
                for side, old in zip((left, right), roots, strict=True)
            )
        out = {}
        for k, x in u.items():
            y = _times(roots[0][k], sided(x))
            y = _times(roots[1][k], y.T).T if k in roots[1] else y
            out[k] = y.reshape(x.shape).to(x.dtype)
        return out, (t + 1, (left, right), roots)

    def response(self, s: State, p: Point) -> Response:
        """The roots, in their eigenbasis."""
        return between(s[2][0], s[2][1], p.w)

    def _added(self, x: Tensor, g: Tensor) -> Tensor:
        new = g @ g.T if x.ndim == 2 else g.square().sum(1)
        return x + new if self.beta == 1 else torch.lerp(x, new, 1 - self.beta)

    def _root(self, x: Tensor, old: Tensor, power: float) -> Tensor:
        if x.ndim == 1:
            return (x + self.eps) ** power
        if not bool(torch.isfinite(x).all()):
            return old  # training has diverged: the step will show it, and the decomposition would only raise
        values, vectors = torch.linalg.eigh(x)
        return vectors * (values.clamp_min(0.0) + self.eps) ** power @ vectors.T

    def state_bytes(self, w: Params) -> int:
        """The sum and the root for each side."""
        return 2 * sum(size_bytes(side) for side in self._sides(w))


def _times(root: Tensor, x: Tensor) -> Tensor:
    return root @ x if root.ndim == 2 else root[:, None] * x


def shampoo(
    lr: float,
    momentum: float = 0.9,
    beta: float = 1.0,
    eps: float = 1e-6,
    every: int = 1,
    graft: Grafted = "none",
    beta1: float = 0.9,
    beta2: float = 0.999,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Momentum >> Roots >> Decay >> Lr`: the momentum is preconditioned, the preconditioners see the raw gradient.

    `graft="sgd"` gives each tensor the norm of its momentum, `"adam"` that of Adam's step with `beta1` and `beta2` in
    its place (`Graft(Momentum >> Roots, Ema >> Rms)`). The paper adds `eps` to the first sum, here it is added to every
    root: the same for sums. Convolutions are `[out, in * kernel]`, where the paper gives each axis its own matrix.
    """
    if graft not in get_args(Grafted):
        raise ValueError(f"shampoo: graft = {graft!r} is unknown; give one of {', '.join(get_args(Grafted))}.")
    roots: Part = Roots(beta, eps, every)
    if graft == "adam":
        step = Graft(Momentum(momentum) >> roots, Ema(beta1) >> Rms(beta2))
    else:
        step = Momentum(momentum) >> (Graft(roots) if graft == "sgd" else roots)
    return step >> Decay(decay) >> Lr(lr, schedule)
