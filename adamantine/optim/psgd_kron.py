"""PSGD with a Kronecker-factored preconditioner fitted by gradient descent (Li, arXiv:1512.04202, arXiv:2402.11858)."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.adafactor import ClipRms
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.polar import precise
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.symmetric_sides import between
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.response import Response
from adamantine.tree import Params

Fit = Literal["direction", "gradient"]
DAMPING = torch.finfo(torch.float32).eps ** 0.5


@dataclass(frozen=True)
class Kron(Part):
    """`L' L G R' R`, with upper triangular `L`, `R` that are fitted so that the outcome has unit covariance.

    The fit descends `E[g' P g + v' P^-1 v]` along `Q <- Q - rate * triu(A A' - B B') / |A A' + B B'| Q`, where
    `A = L G R'`, `B = L'^-1 V R^-1` and `V` is normal noise; `|.|` is a lower bound of the spectral norm. `fit` says
    what is whitened. Vectors, and sides above `max_side`, have a diagonal factor. The factors are fitted at every step
    at first, and, `flat` steps later, with a frequency that falls by `exp(-anneal)` a step down to `least`; at one fit
    in a hundred the sizes of `L` and `R` are balanced. Tensors of more than two axes are taken as `x.flatten(1)`.
    """

    rate: float = 0.1
    scale: float = 1.0
    fit: Fit = "direction"
    least: float = 0.03
    anneal: float = 0.001
    flat: int = 500
    max_side: int = 8192
    symmetry: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        limits.positive(self, rate=self.rate, scale=self.scale)
        limits.choice(self, get_args(Fit), fit=self.fit)
        limits.nonnegative(self, anneal=self.anneal)
        limits.whole(self, 0, flat=self.flat)
        limits.whole(self, max_side=self.max_side)
        if not 0 < self.least <= 1:
            raise ValueError(f"Kron: least = {self.least!r} must lie in (0, 1]; 1 fits the factors at every step.")

    def init(self, w: Params) -> State:
        """`t = 0`, steps since the last fit, and the factors: `scale^(1/sides)` times the identity."""
        return 0, 0, {k: self._start(x) for k, x in w.items()}

    def _start(self, x: Tensor) -> tuple[Tensor, ...]:
        y = _matrix(x)
        shape = y.shape
        size = self.scale ** (1 / len(shape))
        flat = [len(shape) < 2 or n == 1 or n > self.max_side for n in shape]
        kept = {"dtype": y.dtype, "device": y.device}
        return tuple(
            size * (torch.ones(n, **kept) if diagonal else torch.eye(n, **kept))
            for n, diagonal in zip(shape, flat, strict=True)
        )

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Fit the factors, if it is time, and apply them."""
        t, waited, factors = s[0], s[1] + 1, s[2]
        due = waited >= 1 / max(min(math.exp(-self.anneal * (t - self.flat)), 1.0), self.least)
        if due:
            waited = 0
            balance = float(torch.rand((), generator=p.rng("kron balance"))) < 0.01
            factors = {k: self._fitted(k, q, u[k], p, balance) for k, q in factors.items()}
        out = {}
        for k, x in u.items():
            y = _matrix(x)
            for axis, q in enumerate(factors[k]):
                y = _along(axis, q.T @ q if q.ndim == 2 else q * q, y)
            out[k] = y.reshape(x.shape).to(x.dtype)
        return out, (t + 1, waited, factors)

    def response(self, s: State, p: Point) -> Response:
        """`L' L` and `R' R`, in their eigenbasis."""
        whole = {k: [q.T @ q if q.ndim == 2 else q * q for q in factors] for k, factors in s[2].items()}
        left = {k: a[0] for k, a in whole.items()}
        return between(left, {k: a[1] for k, a in whole.items() if len(a) > 1}, p.w)

    def _fitted(self, k: str, factors: tuple[Tensor, ...], u: Tensor, p: Point, balance: bool) -> tuple[Tensor, ...]:
        x = u if self.fit == "direction" else p.grad[k]
        g = _matrix(x)
        if balance and len(factors) > 1:
            sizes = torch.stack([q.abs().max() for q in factors])
            factors = tuple(q * r for q, r in zip(factors, sizes.log().mean().exp() / sizes, strict=True))
        noise = torch.randn(g.shape, dtype=g.dtype, generator=p.rng(f"kron/{k}")).to(g.device)
        a, b = g + DAMPING * g.abs().mean() * noise, noise
        for axis, q in enumerate(factors):
            a = _along(axis, q, a)
            b = _solved(axis, q, b)
        return tuple(self._moved(q, _gram(axis, q, a), _gram(axis, q, b)) for axis, q in enumerate(factors))

    def _moved(self, q: Tensor, a: Tensor, b: Tensor) -> Tensor:
        tiny = torch.finfo(q.dtype).tiny
        if q.ndim < 2:
            return q - self.rate * (a - b) * (q / (a + b).abs().max().clamp_min(tiny))
        return q - torch.triu(self.rate * (a - b)) / spectral_bound(a + b).clamp_min(tiny) @ q

    def state_bytes(self, w: Params) -> int:
        """The factors."""
        return sum(q.numel() * q.element_size() for x in w.values() for q in self._start(x))


def spectral_bound(a: Tensor) -> Tensor:
    """A lower bound of the spectral norm of a symmetric `a`, `[n, n]`: two steps of power iteration from a column."""
    size = a.abs().max()
    a = a / torch.where(size > 0, size, torch.ones_like(size))
    x = a[:, a.square().sum(0).argmax()] @ a
    x = a @ (x / torch.linalg.vector_norm(x).clamp_min(torch.finfo(a.dtype).tiny))
    return torch.linalg.vector_norm(x) * size


def _matrix(x: Tensor) -> Tensor:
    return precise(x.flatten(1) if x.ndim > 1 else x.reshape(-1))


def _along(axis: int, q: Tensor, x: Tensor) -> Tensor:
    """`q x` on the first axis, `x q'` on the second."""
    if q.ndim < 2:
        return x * (q[:, None] if axis == 0 and x.ndim > 1 else q)
    return q @ x if axis == 0 else x @ q.T


def _solved(axis: int, q: Tensor, x: Tensor) -> Tensor:
    """`q'^-1 x` on the first axis, `x q^-1` on the second."""
    if q.ndim < 2:
        return x / (q[:, None] if axis == 0 and x.ndim > 1 else q)
    if axis == 0:
        return torch.linalg.solve_triangular(q.T, x, upper=False)
    return torch.linalg.solve_triangular(q, x, upper=True, left=False)


def _gram(axis: int, q: Tensor, x: Tensor) -> Tensor:
    """`x x'` on the first axis, `x' x` on the second, or the diagonal of it."""
    y = x.reshape(-1, 1) if x.ndim < 2 else (x if axis == 0 else x.T)
    return y @ y.T if q.ndim == 2 else y.square().sum(1)


def psgd_kron(
    lr: float,
    beta: float = 0.9,
    rate: float = 0.1,
    scale: float = 1.0,
    fit: Fit = "direction",
    least: float = 0.03,
    anneal: float = 0.001,
    flat: int = 500,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Ema >> Kron >> ClipRms(1.1) >> Decay >> Lr`, with the defaults and the frequency of fits of kron-torch 0.3.3.

    It differs from that package in three places: the noise that damps the fit stays out of the update itself, a
    convolution is `[out, in * kernel]` whatever its sides, and decay acts on vectors too.
    """
    kron = Kron(rate, scale, fit, least, anneal, flat)
    return Ema(beta) >> kron >> ClipRms(1.1) >> Decay(decay) >> Lr(lr, schedule)
