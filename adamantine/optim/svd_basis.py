"""The singular basis of the gradient (Maes, Zhang et al., arXiv:2410.19964, algorithm 5; full-rank GaLore).

With `G = U S V'` taken from the gradient at hand every so often, the inner part sees `U' G V`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.optim.basis import answered_in, read_in, reprojected, seen_in, told_in, update_in
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.optim.two_sided import TwoSided, aligned, eyes, paired, sides, square_bytes, symmetry_in, unpaired
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response
from adamantine.tree import Params

SINGULAR = "singular basis"


def completed(u: Tensor, w: Tensor) -> Tensor:
    """Extend `u`, `[m, k]` with orthonormal columns, to an orthogonal `[m, m]`.

    The gradient leaves the rest of the basis open. It is taken from the weights `w`, `[m, n]`: from the left
    singular vectors of what of `w` lies outside `u`, so that it turns with the matrix; and at will beyond.
    """
    m, k = u.shape
    if m == k:
        return u
    more = torch.linalg.svd(w - u @ (u.T @ w), full_matrices=False)[0][:, : m - k]
    q = torch.linalg.qr(torch.cat([u, more], 1), mode="complete")[0]
    return torch.cat([u, q[:, k:]], 1)


@dataclass(frozen=True)
class SvdBasis(Part):
    """`inner` in the singular basis of the current gradient, renewed every `every` steps from the first one on.

    The inner state is kept as it is when the basis changes, as published; singular vectors keep their signs
    from one basis to the next, so that a momentum keeps its meaning where the basis moves little. With `reproject` it
    is turned along, first moments exactly, second moments by squared entries; what is taken over from another
    optimizer is turned at the first step in any case. In the first step the basis comes from the
    very gradient it turns, so that Adam's update is `U V'`, the polar factor; round-off beside the diagonal, which a
    second moment would blow up to size one, is removed in steps that renew the basis.

    Tensors of more than two axes are taken as `x.flatten(1)`; vectors, and sides above `max_side`, are left
    alone. It commutes with left-right rotations where singular values are distinct and no side is more than
    twice the other or above `max_side`: beyond, the rest of a basis is arbitrary.
    """

    inner: Part = Ema() >> Rms()
    every: int = 50
    max_side: int = 1024
    reproject: bool = False

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        limits.whole(self, every=self.every, max_side=self.max_side)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Left-right rotations, with any inner part that commutes with flips of rows and columns."""
        return symmetry_in(self.inner)

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part is."""
        return self.inner.local

    def init(self, w: Params) -> State:
        """`t = 0`, identity bases, and the inner state."""
        left, right = sides(w, self.max_side)
        return 0, eyes(w, left), eyes(w, right), self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner update in the singular basis, turned back."""
        t, left, right, inner = s
        grad = None
        if t % self.every == 0:
            old = TwoSided(left, right)
            left, right, grad = _renewed(left, right, u, p)
            if t == 0 or self.reproject:
                inner = reprojected(old, TwoSided(left, right), self.inner, inner, u)
        out, inner = update_in(TwoSided(left, right), self.inner, u, inner, p, grad)
        return out, (t + 1, left, right, inner)

    def response(self, s: State, p: Point) -> Response | None:
        """The inner part's, in the singular basis held still."""
        return answered_in(TwoSided(s[1], s[2]), self.inner, s[3], p)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads, in the basis now in use."""
        return read_in(TwoSided(s[1], s[2]), self.inner, w, s[3])

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews; the basis keeps to its rhythm."""
        return *s[:3], self.inner.renew(s[3], seen_in(TwoSided(s[1], s[2]), p.w, p))

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.inner.units

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The basis, and the inner part's moments in it."""
        t, left, right, inner = s
        own = (Moment(SINGULAR, paired(left, right), t),) if t else ()
        return (*own, *told_in(TwoSided(left, right), self.inner, inner, w))

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """Another singular basis as it is; what is for the inner part turned into it."""
        t, left, right, inner = s
        m = live.claim(SINGULAR, paired(left, right))
        if m is not None:
            t, (left, right) = m.t, unpaired(m.value, left, right)
        return t, left, right, self.inner.adopt(inner, live.seen_in(TwoSided(left, right)), w)

    def state_bytes(self, w: Params) -> int:
        """A square matrix a side, and the inner state."""
        return square_bytes(w, self.max_side) + self.inner.state_bytes(w)


def _renewed(left: Params, right: Params, u: Params, p: Point) -> tuple[Params, Params, Params]:
    """New bases on both sides, and the gradient in them."""
    left, right = dict(left), dict(right)
    exact: Params = {}
    for k in {**left, **right}:
        g, w = p.grad[k].flatten(1), p.w[k].flatten(1)
        if not bool(torch.isfinite(g).all()):
            continue  # training has diverged: the step will show it, and the decomposition would only raise
        a, values, b = torch.linalg.svd(g, full_matrices=False)
        b = b.mT
        sign = aligned(a, left[k][:, : len(values)]) if k in left else aligned(b, right[k][:, : len(values)])
        if k in left:
            left[k] = _signed(completed(a * sign, w), left[k], len(values))
        if k in right:
            right[k] = _signed(completed(b * sign, w.T), right[k], len(values))
        if k in left and k in right:
            diagonal = torch.zeros_like(g)
            diagonal.diagonal().copy_(values)
            exact[k] = diagonal.reshape(p.grad[k].shape)
    turned = TwoSided(left, right).forth({k: p.grad[k] for k in u if k not in exact})
    return left, right, {k: exact[k] if k in exact else turned[k] for k in u}


def _signed(new: Tensor, old: Tensor, fixed: int) -> Tensor:
    """Align the columns from `fixed` on with those of `old`; the pairs before have their sign already."""
    return torch.cat([new[:, :fixed], new[:, fixed:] * aligned(new[:, fixed:], old[:, fixed:])], 1)
