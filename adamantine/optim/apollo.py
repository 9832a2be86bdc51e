"""APOLLO: the gradient itself, scaled as Adam scales a random projection of it (Zhu et al., arXiv:2412.05270)."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.debias import Debias
from adamantine.optim.decay import Decay
from adamantine.optim.limiter import LimitGrowth
from adamantine.optim.low_rank import Projection, channel_ratio, is_tall, seen_through, shapes, shorter
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.optim.times import Times
from adamantine.optim.unfused import Unfused
from adamantine.part import Chain, Part, State
from adamantine.point import Point, stream
from adamantine.role import HIDDEN, Is
from adamantine.route import Route
from adamantine.tree import Params

Per = Literal["channel", "tensor"]


@dataclass(frozen=True)
class ScaledGradient(Part):
    """`u` times the factor by which `inner` changes the norm of its projection `R`, a channel or a tensor at a time.

    `R = u P` on the shorter side, `P` normal of variance `1 / rank`, drawn anew every `every` steps from the run's
    seed and the tensor's name; it is never kept. A channel is a line along the longer side. Tensors below two axes get
    what `inner` makes of them.
    """

    rank: int
    inner: Part = Ema() >> Rms()
    every: int = 200
    per: Per = "channel"
    symmetry: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        limits.whole(self, rank=self.rank, every=self.every)
        limits.choice(self, get_args(Per), per=self.per)

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part is."""
        return self.inner.local

    def _projection(self, w: Params, seed: int | str, t: int) -> Projection:
        drawn = {}
        for k, n in shorter(w).items():
            rng = stream(seed, f"projection/{k}/{t // self.every}")
            normal = torch.randn(n, self.rank, dtype=w[k].dtype, generator=rng)
            drawn[k] = normal.to(w[k].device) / self.rank**0.5
        return Projection(drawn, shapes(w))

    def init(self, w: Params) -> State:
        """`t = 0`, and the inner state of the projected shapes."""
        return 0, self.inner.init(self._projection(w, 0, 0).forth(w))

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`u |inner(R)| / |R|`."""
        projection = self._projection(u, p.seed, s[0])
        grad = projection.forth({k: p.grad[k] for k in u})
        r = grad if all(x is p.grad[k] for k, x in u.items()) else projection.forth(u)
        low, inner = self.inner.update(r, s[1], seen_through(projection, u, p, grad))
        whole = {k: self._scaled(x, low[k], r[k]) if k in projection.matrices else low[k] for k, x in u.items()}
        return whole, (s[0] + 1, inner)

    def _scaled(self, x: Tensor, low: Tensor, r: Tensor) -> Tensor:
        if self.per == "tensor":
            return x * (torch.linalg.vector_norm(low) / (torch.linalg.vector_norm(r) + 1e-8))
        g = x.flatten(1)
        return (g * channel_ratio(low, r, is_tall(g.shape))).reshape(x.shape)

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews."""
        projection = self._projection(p.w, p.seed, s[0])
        return s[0], self.inner.renew(s[1], seen_through(projection, p.w, p, projection.forth(p.grad)))

    def state_bytes(self, w: Params) -> int:
        """The inner state of the projected shapes; the projection is drawn when it is needed."""
        return self.inner.state_bytes(self._projection(w, 0, 0).forth(w))


def apollo(
    lr: float,
    rank: int = 256,
    every: int = 200,
    scale: float = 1.0,
    per: Per = "channel",
    growth: float = 1.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-6,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Unfused(Route(Is, ScaledGradient >> LimitGrowth >> Debias >> Times(scale^.5), Ema >> Rms)) >> Decay >> Lr`.

    The hidden matrices are scaled, the rest is AdamW's. As in the authors' code the limiter comes before Adam's bias
    correction, where the paper writes AdamW for the inner step, and so holds back the first hundred steps: their
    results were obtained with it.
    """
    low = Ema(beta1, debias=False) >> Rms(beta2, eps, debias=False)
    scaled = ScaledGradient(rank, low, every, per) >> LimitGrowth(growth) >> Debias(beta1, beta2) >> Times(scale**0.5)
    routed = Unfused(Route(Is(*HIDDEN), scaled, Ema(beta1) >> Rms(beta2, eps)))
    return routed >> Decay(decay) >> Lr(lr, schedule)


def apollo_mini(
    lr: float,
    rank: int = 1,
    every: int = 200,
    scale: float = 128.0,
    growth: float = 1.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-6,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`apollo` with a single direction and a single factor a tensor (arXiv:2412.05270, APOLLO-Mini)."""
    return apollo(lr, rank, every, scale, "tensor", growth, beta1, beta2, eps, decay, schedule)
