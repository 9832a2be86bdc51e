"""Scaling by the root of a running second moment, kept per coordinate or shared by blocks of coordinates.

Full: Adam (arXiv:1412.6980). One value a row: the per-neuron idea of Adam-mini (arXiv:2406.16793). One a tensor:
Adalayer (arXiv:2407.07972). One for all: AdaSGD (arXiv:2006.16541). Sharing a block makes the part commute with
every rotation inside the block, which is what a random rotation of the block does to Adam on average.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from adamantine.kernel import Code, Fused, Mean
from adamantine.live import SECOND, Live, Moment, steps_and_bias
from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params, each, size

Shape = Literal["full", "row", "column", "tensor", "all"]

SYMMETRY: dict[str, str] = {
    "full": "signed permutation",
    "row": "row rotation",
    "column": "column rotation",
    "tensor": "layer rotation",
    "all": "rotation",
}


NAMES = ("rest", "scale", "eps")
TINY = 1.2e-38  # above zero in every floating type that a kernel knows
CODE = {
    "full": Code("$v += $rest * (g * g - $v); u /= sqrt($v) * $scale + $eps;", (("v", "full"),), NAMES),
    **{
        shape: Code(
            "u /= $under;",
            (("v", shape),),
            NAMES,
            (Mean(shape, "$v += $rest * (mean - $v); $under = sqrt($v) * $scale + $eps;", name="under"),),
        )
        for shape in ("row", "column", "tensor")
    },
}


def block_mean(x: Tensor, shape: Shape) -> Tensor:
    """Mean of `x` over each block of one tensor, in a shape that broadcasts against `x`.

    A row is everything that enters one output (all axes but the first), a column everything at one place
    of `x.flatten(1)`. A tensor below two axes (bias, gain) is one block, for rows and columns alike.
    """
    if shape == "full":
        return x
    if x.ndim < 2 or shape in ("tensor", "all"):
        return x.mean()
    return x.mean(tuple(range(1, x.ndim)) if shape == "row" else 0, keepdim=True)


def block_means(a: Params, shape: Shape) -> Params:
    """`block_mean` of every tensor; for `"all"` one mean over all coordinates, under the key `""`."""
    if shape != "all":
        return {k: block_mean(x, shape) for k, x in a.items()}
    return {"": torch.stack([x.sum() for x in a.values()]).sum() / size(a)} if a else {}


def block_of(k: str, shape: Shape) -> str:
    """The key under which `block_means` keeps what belongs to the tensor `k`."""
    return "" if shape == "all" else k


def root(v: Params, eps: float, scale: float = 1.0) -> Params:
    """`scale * sqrt(v) + eps`; with `eps = 0` never quite zero, so that `0 / root` is 0 and not NaN."""
    out = {k: x.sqrt().mul(scale).add(eps) for k, x in v.items()}
    return out if eps else {k: x.clamp_min(torch.finfo(x.dtype).tiny) for k, x in out.items()}


def spread(blocks: Params, w: Params, shape: Shape) -> Params:
    """One value a coordinate from one a block: the same for the whole block, so that its mean is kept."""
    return {k: blocks[block_of(k, shape)].expand_as(x) for k, x in w.items()}


def block_bytes(w: Params, shape: Shape) -> int:
    """Bytes of one value a block."""
    if shape == "all":
        return next(iter(w.values())).element_size() if w else 0
    if shape == "full":
        return sum(x.numel() * x.element_size() for x in w.values())
    return sum(_blocks(x, shape) * x.element_size() for x in w.values())


def _blocks(x: Tensor, shape: Shape) -> int:
    if x.ndim < 2 or shape == "tensor":
        return 1
    return x.shape[0] if shape == "row" else x[0].numel()


@dataclass(frozen=True)
class Rms(Part):
    """Divide `u` by `sqrt(v) + eps`, where `v <- beta v + (1 - beta) mean of g^2 over the block`.

    `g` is the raw gradient `p.grad`, whatever the direction went through before. With `debias` the root is
    taken of `v / (1 - beta^t)`; `eps` is added outside it, as in `torch.optim.Adam`.
    """

    beta: float = 0.999
    eps: float = 1e-8
    shape: Shape = "full"
    debias: bool = True

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.nonnegative(self, eps=self.eps)
        limits.choice(self, get_args(Shape), shape=self.shape)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Rotations inside a block; signed permutations where every coordinate is its own block."""
        return SYMMETRY[self.shape]

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Unless one value is shared by all tensors."""
        return self.shape != "all"

    def init(self, w: Params) -> State:
        """`t = 0`, `v = 0`: one scalar in all for `"all"`, else one tensor a parameter."""
        return 0, block_means(each(torch.zeros_like, w), self.shape)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`u / (sqrt(v / (1 - beta^t)) + eps)`."""
        t = s[0] + 1
        square = block_means({k: p.grad[k].square() for k in u}, self.shape)
        v = {k: torch.lerp(s[1][k], x, 1 - self.beta) for k, x in square.items()}
        under = root(v, self.eps, (1 - self.beta**t) ** -0.5 if self.debias else 1.0)
        return {k: x / under[block_of(k, self.shape)] for k, x in u.items()}, (t, v)

    def response(self, s: State, p: Point) -> Response:
        """One over the root."""
        under = root(s[1], self.eps, (1 - self.beta ** s[0]) ** -0.5 if self.debias else 1.0)
        return response(p.w, {k: 1 / under[block_of(k, self.shape)] for k in p.w})

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`; a value shared by all tensors is found first."""
        t = s[0] + 1
        numbers = (1 - self.beta, (1 - self.beta**t) ** -0.5 if self.debias else 1.0, self.eps or TINY)
        if self.shape == "all":
            lengths = torch.stack([torch.linalg.vector_norm(p.grad[k]) for k in p.w])
            v = torch.lerp(s[1][""], lengths.square().sum() / size(p.w), numbers[0])
            under = float(v.sqrt()) * numbers[1] + numbers[2]
            return Fused(Code("u /= $under;", (), ("under",)), (), (under,), (t, {"": v}))
        return Fused(CODE[self.shape], (s[1],), numbers, (t, s[1]))

    @property
    def units(self) -> tuple[str, ...]:
        """Divided by the root of a second moment, however it is kept."""
        return (SECOND,)

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`v / (1 - beta^t)` in every coordinate of the block; nothing before the first step."""
        t, v = s
        if not t or not w:
            return ()
        unbiased = {k: x / (1 - self.beta**t) for k, x in v.items()}
        return (Moment(SECOND, spread(unbiased, w, self.shape), t),)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """`(1 - beta^t)` times the mean over the block.

        The mean is linear, so that a block takes over exactly what it would have held from the start. From coarse to
        fine the mean is all that is known: a row that becomes a column keeps no more than the mean over the tensor.
        """
        m = live.claim(SECOND, w)
        if m is None:
            return s
        t, held = steps_and_bias(m, self.beta)
        return t, block_means(each(lambda x: x * held, m.value), self.shape)

    def state_bytes(self, w: Params) -> int:
        """One value a block."""
        return block_bytes(w, self.shape)
