"""Shampoo's eigenbasis and SOAP (Vyas et al., arXiv:2409.11321; Shampoo: Gupta et al., arXiv:1802.09568).

`Eigenbasis(Rms())` after `Ema()` is SOAP: a momentum kept in the original coordinates and turned at each
step is the momentum that SOAP re-projects whenever its basis changes.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.optim.basis import answered_in, read_in, reprojected, seen_in, told_in, update_in
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.optim.two_sided import (
    TwoSided,
    aligned,
    eyes,
    paired,
    sides,
    square_bytes,
    symmetry_in,
    unchanged,
    unpaired,
)
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response
from adamantine.tree import Params

Method = Literal["qr", "eigh"]
EIGENBASIS = "eigenbasis"


@dataclass(frozen=True)
class Eigenbasis(Part):
    """`inner` in the eigenbasis of the averages of `G G'` and `G' G` with coefficient `beta`.

    The basis is found by `eigh`, largest eigenvalue first, at the first step, and at each further one until the
    gradients so far can span its sides, though each lack one rank; then every `every` steps, by one step of
    orthogonal iteration (`"qr"`, as SOAP) or afresh (`"eigh"`). SOAP skips its first update; here the first gradient is
    turned by its own eigenbasis. The inner state is kept when orthogonal iteration changes the basis, its columns in
    their order, as SOAP keeps the second moment; with `reproject` it is turned along, first moments exactly, second
    moments by squared entries. It is turned along in any case while the basis is found afresh for want of gradients.

    Tensors of more than two axes are taken as `x.flatten(1)`; vectors, and sides above `max_side`, are left
    alone (the symmetry then ends at them).
    """

    inner: Part = Rms()
    beta: float = 0.95
    every: int = 10
    method: Method = "qr"
    max_side: int = 1024
    reproject: bool = False

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        limits.betas(self, beta=self.beta)
        limits.whole(self, every=self.every, max_side=self.max_side)
        limits.choice(self, get_args(Method), method=self.method)

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
        """`t = 0`; on each side the average, zero, and the basis, the identity; the inner state."""
        bases = [eyes(w, lengths) for lengths in sides(w, self.max_side)]
        coarse = next((k for side in bases for k in side if w[k].dtype.itemsize < 4), None)
        if coarse is not None:
            raise ValueError(
                f"Eigenbasis: {coarse!r} is {w[coarse].dtype}, of too few bits for eigenvectors; keep the weights in "
                "float32 and compute under torch.autocast."
            )
        averages = [{k: torch.zeros_like(q) for k, q in side.items()} for side in bases]
        return 0, tuple(averages), tuple(bases), self.inner.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner update in the eigenbasis, turned back."""
        t, (a, b), old, inner = s
        g = {k: p.grad[k].flatten(1) for k in {**a, **b}}
        share = 1 - self.beta
        a = {k: torch.addmm(x, g[k], g[k].T, beta=self.beta, alpha=share) for k, x in a.items()}
        b = {k: torch.addmm(x, g[k].T, g[k], beta=self.beta, alpha=share) for k, x in b.items()}
        # Before the averages have full rank, the rest of the basis is arbitrary; it must not outlive the step.
        # A gradient may lack one rank of its shorter side: the rows of a softmax's add up to zero.
        longest = {k: max(len(side[k]) for side in old if k in side) for k in g}
        young = {k for k, x in g.items() if t * max(min(x.shape) - 1, 1) < longest[k]}
        left = {k: self._basis(t, k in young, a[k], q) for k, q in old[0].items()}
        right = {k: self._basis(t, k in young, b[k], q) for k, q in old[1].items()}
        if young or (self.reproject and not unchanged(old, (left, right))):
            # Kept columns would divide what a direction now holds by what another one, not met yet, had: by nothing.
            before = [
                {k: q if self.reproject or k in young else new[k] for k, q in side.items()}
                for side, new in zip(old, (left, right), strict=True)
            ]
            inner = reprojected(TwoSided(*before), TwoSided(left, right), self.inner, inner, u)
        out, inner = update_in(TwoSided(left, right), self.inner, u, inner, p)
        return out, (t + 1, (a, b), (left, right), inner)

    def response(self, s: State, p: Point) -> Response | None:
        """The inner part's, in the eigenbasis held still."""
        return answered_in(TwoSided(*s[2]), self.inner, s[3], p)

    def _basis(self, t: int, young: bool, average: Tensor, old: Tensor) -> Tensor:
        if not young and t % self.every:
            return old
        if not bool(torch.isfinite(average).all()):
            return old  # training has diverged: the step will show it, and the decomposition would only raise
        if young or self.method == "eigh":
            new = torch.linalg.eigh(average)[1].flip(1)
        else:
            new = torch.linalg.qr(average @ old)[0]
        return new * aligned(new, old)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads, in the basis now in use."""
        return read_in(TwoSided(*s[2]), self.inner, w, s[3])

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews; averages and bases stay."""
        return *s[:3], self.inner.renew(s[3], seen_in(TwoSided(*s[2]), p.w, p))

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.inner.units

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The basis with its averages, and the inner part's moments in that basis."""
        t, averages, bases, inner = s
        own = (Moment(EIGENBASIS, paired(*averages, *bases), t),) if t else ()
        return (*own, *told_in(TwoSided(*bases), self.inner, inner, w))

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """Another eigenbasis as it is; what is for the inner part turned into it."""
        t, averages, bases, inner = s
        m = live.claim(EIGENBASIS, paired(*averages, *bases))
        if m is not None:
            held = unpaired(m.value, *averages, *bases)
            t, averages, bases = m.t, held[:2], held[2:]
        return t, averages, bases, self.inner.adopt(inner, live.seen_in(TwoSided(*bases)), w)

    def state_bytes(self, w: Params) -> int:
        """Two square matrices a side, and the inner state."""
        return 2 * square_bytes(w, self.max_side) + self.inner.state_bytes(w)


def soap(
    lr: float,
    beta1: float = 0.95,
    beta2: float = 0.95,
    eps: float = 1e-8,
    decay: float = 0.0,
    every: int = 10,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Ema >> Eigenbasis(Rms) >> Decay >> Lr`; the averages of the basis share the coefficient `beta2`."""
    turned = Eigenbasis(Rms(beta2, eps), beta2, every)
    return Ema(beta1) >> turned >> Decay(decay) >> Lr(lr, schedule)
