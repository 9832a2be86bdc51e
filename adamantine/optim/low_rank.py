"""Running an optimizer on gradients projected to a few dimensions (GaLore: Zhao et al., arXiv:2403.03507).

A matrix `G`, `[m, n]`, is seen from its shorter side: `R = G P` with `P`, `[n, r]`, where `m >= n`, else `R = P' G`
with `P`, `[m, r]`. Tensors of more than two axes are taken as `x.flatten(1)`; tensors below two axes are left whole.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.basis import TaskIn
from adamantine.optim.limiter import limited
from adamantine.optim.momentum import Ema
from adamantine.optim.polar import precise
from adamantine.optim.second_moment import Rms
from adamantine.optim.two_sided import aligned
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.symmetry import holds
from adamantine.tree import Params, add, size_bytes

Residual = Literal["dropped", "scaled"]


@dataclass(frozen=True)
class Projection:
    """`R = G P` or `P' G`, with the matrices `P` by name; a tensor that has none is left whole.

    `around` are weights `W` whose part outside the projection `back` restores: it maps `z` to `W + (z - W P) P'`.
    """

    matrices: Params
    shapes: dict[str, torch.Size]
    around: Params | None = None

    @property
    def normalizes(self) -> frozenset[str]:
        """No group: this is no change of coordinates but a restriction."""
        return frozenset()

    def forth(self, a: Params) -> Params:
        """The projection of `a`."""
        return {k: self._down(k, x) if k in self.matrices else x for k, x in a.items()}

    def back(self, a: Params) -> Params:
        """What of the whole space `a` stands for."""
        if self.around is None:
            return {k: self._up(k, x) if k in self.matrices else x for k, x in a.items()}
        moved = add(a, self.forth({k: self.around[k] for k in a}), -1.0)
        return {k: self.around[k] + self._up(k, x) if k in self.matrices else a[k] for k, x in moved.items()}

    def _down(self, k: str, x: Tensor) -> Tensor:
        g = x.flatten(1)
        return g @ self.matrices[k] if is_tall(g.shape) else self.matrices[k].T @ g

    def _up(self, k: str, x: Tensor) -> Tensor:
        shape = self.shapes[k]
        tall = is_tall((shape[0], shape[1:].numel()))
        return (x @ self.matrices[k].T if tall else self.matrices[k] @ x).reshape(shape)


def is_tall(shape: tuple[int, ...]) -> bool:
    """Whether a matrix is projected from its right side: it has at least as many rows as columns."""
    return shape[0] >= shape[1]


def shorter(w: Params) -> dict[str, int]:
    """Length of the shorter side of every tensor with two axes or more."""
    return {k: min(x.flatten(1).shape) for k, x in w.items() if x.ndim >= 2}


def shapes(w: Params) -> dict[str, torch.Size]:
    """The shape of every tensor."""
    return {k: x.shape for k, x in w.items()}


def seen_through(projection: Projection, u: Params, p: Point, grad: Params) -> Point:
    """The point `p` with its tensors named in `u` replaced by their projections; `grad` is the projected gradient."""
    whole = {k: p.w[k] for k in u}
    rest = {k: x for k, x in p.w.items() if k not in u}
    task = TaskIn(p.task, replace(projection, around=whole), rest)
    return replace(p.given(grad, projection.forth(whole)), task=task)


def channel_ratio(out: Tensor, r: Tensor, tall: bool) -> Tensor:
    """`|out| / (|r| + 1e-8)` of every channel, a line along the longer side, to broadcast against `[m, n]`."""
    axis = 1 if tall else 0
    norms = [torch.linalg.vector_norm(x, dim=axis, keepdim=True) for x in (out, r)]
    return norms[0] / (norms[1] + 1e-8)


@dataclass(frozen=True)
class LowRank(Part):
    """`inner` in the span of the `rank` largest singular vectors of the gradient, on its shorter side.

    The vectors are renewed every `every` steps from the first one on, from the gradient at hand; the inner state stays
    as it is (GaLore). Their signs, which are open, are those of the vectors before. What lies outside is dropped, or
    (`residual="scaled"`, Fira, arXiv:2410.01623) passed on times the factor by which `inner` changed the norm of its
    channel; the norm of that rest may grow by `growth` a step. Weights the inner part asks for are projected too.
    """

    rank: int
    inner: Part = Ema() >> Rms()
    every: int = 200
    residual: Residual = "dropped"
    growth: float = 1.01

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        limits.whole(self, rank=self.rank, every=self.every)
        limits.choice(self, get_args(Residual), residual=self.residual)
        limits.positive(self, growth=self.growth)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Left-right rotations, with an inner part that has them."""
        whole = self.residual == "dropped" and "left-right rotation" in holds(self.inner.symmetry)
        return "left-right rotation" if whole else "none"

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part is."""
        return self.inner.local

    def _start(self, w: Params) -> Projection:
        lengths = shorter(w)
        eyes = {k: torch.eye(n, min(self.rank, n), dtype=w[k].dtype, device=w[k].device) for k, n in lengths.items()}
        return Projection(eyes, shapes(w))

    def init(self, w: Params) -> State:
        """`t = 0`, the projections, norms of the rest (if it is kept) and the inner state."""
        start = self._start(w)
        norms = {k: w[k].new_zeros(()) for k in start.matrices} if self.residual == "scaled" else {}
        return 0, start.matrices, norms, self.inner.init(start.forth(w))

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`inner(R) P'`, and the scaled rest."""
        t, matrices, norms, inner = s
        if t % self.every == 0:
            matrices = {k: leading(p.grad[k], q) for k, q in matrices.items()}
        projection = Projection(matrices, shapes(u))
        grad = projection.forth({k: p.grad[k] for k in u})
        raw = all(x is p.grad[k] for k, x in u.items())
        r = grad if raw else projection.forth(u)
        low, inner = self.inner.update(r, inner, seen_through(projection, u, p, grad))
        out = projection.back(low)
        if self.residual == "scaled":
            norms, inside = dict(norms), projection.back(r)
            for k in matrices:
                rest = (u[k] - inside[k]).flatten(1)
                rest = rest * channel_ratio(low[k], r[k], is_tall(rest.shape))
                rest, norms[k] = limited(rest, norms[k], self.growth)
                out[k] = out[k] + rest.reshape(u[k].shape)
        return out, (t + 1, matrices, norms, inner)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads, moved by as much in the whole space."""
        projection = Projection(s[1], shapes(w), w)
        z = projection.forth(w)
        out = self.inner.read(z, s[3])
        return w if out is z else projection.back(out)

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews; the projections keep to their rhythm."""
        projection = Projection(s[1], shapes(p.w))
        return *s[:3], self.inner.renew(s[3], seen_through(projection, p.w, p, projection.forth(p.grad)))

    def state_bytes(self, w: Params) -> int:
        """A projection a matrix, a norm where the rest is kept, and the inner state of the projected shapes."""
        start = self._start(w)
        norms = sum(w[k].element_size() for k in start.matrices) if self.residual == "scaled" else 0
        return size_bytes(start.matrices) + norms + self.inner.state_bytes(start.forth(w))


def leading(g: Tensor, old: Tensor) -> Tensor:
    """The leading singular vectors of `g` on its shorter side, as many as `old` has columns, pointing along those."""
    g = g.flatten(1)
    if not bool(torch.isfinite(g).all()):
        return old  # training has diverged: the step will show it, and the decomposition would only raise
    u, _, vh = torch.linalg.svd(precise(g), full_matrices=False)
    new = (vh.T if is_tall(g.shape) else u)[:, : old.shape[1]].to(old.dtype)
    return new * aligned(new, old)
