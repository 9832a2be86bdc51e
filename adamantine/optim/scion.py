"""Scion: steps to the corner of a norm ball, with a norm for each role (Pethick et al., arXiv:2502.07529)."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.polar import Method, Orthogonalize
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import block_mean
from adamantine.optim.times import Times
from adamantine.optim.unfused import Unfused
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.role import HIDDEN, Is
from adamantine.route import Route
from adamantine.tree import Params

Ball = Literal["sign", "row", "tensor"]


@dataclass(frozen=True)
class Lmo(Part):
    """The point of a unit ball that is furthest along `u` (the negative of a linear minimization oracle's).

    "sign": `sign(u) / inputs`, the ball of the largest entry; a vector has one input. "row": each row to root mean
    square one, for tables whose rows are looked up. "tensor": the whole tensor to root mean square one, for biases and
    gains. The spectral ball is `Orthogonalize(shaping="spectral")`. A block of zeros stays zero.
    """

    ball: Ball = "tensor"

    def __post_init__(self) -> None:
        limits.choice(self, get_args(Ball), ball=self.ball)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Rotations inside a block; signed permutations of a tensor under `sign`."""
        return {"sign": "layer signed permutation", "row": "row rotation", "tensor": "layer rotation"}[self.ball]

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The corner."""
        return {k: self._corner(x) for k, x in u.items()}, s

    def _corner(self, x: Tensor) -> Tensor:
        if self.ball == "sign":
            return torch.sign(x) / (x[0].numel() if x.ndim > 1 else 1)
        return x / (block_mean(x.square(), "row" if self.ball == "row" else "tensor").sqrt() + 1e-8)


def scion(
    lr: float,
    beta: float = 0.9,
    radius: float = 1.0,
    table_radius: float = 1.0,
    head_radius: float = 60.0,
    vector_radius: float = 1.0,
    constrained: bool = True,
    method: Method = "newton-schulz",
    iterations: int = 5,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Ema >> Unfused(Route(...)) >> Decay(1) >> Lr`, each route an oracle times its radius.

    Hidden and patch layers take the spectral ball, embeddings and learned positions "row", the head "sign", the rest
    "tensor". The weights stay in balls of these radii where `constrained`; there is
    no `Decay` where they are not. The authors' NanoGPT has radius 50 for
    hidden layers, 3000 for the head (60 times) and a rate of 2^-12; `beta` is one minus what they call momentum.
    """
    vector = Lmo("tensor") >> Times(vector_radius)
    head = Route(Is("head"), Lmo("sign") >> Times(head_radius), vector)
    table = Route(Is("embedding", "position"), Lmo("row") >> Times(table_radius), head)
    hidden = Orthogonalize(method, iterations, "spectral") >> Times(radius)
    routed = Ema(beta, debias=False) >> Unfused(Route(Is(*HIDDEN, "patch"), hidden, table))
    return (routed >> Decay(1.0) if constrained else routed) >> Lr(lr, schedule)
