"""SCALE: normalized SGD with momentum in the head alone (Glentis et al., arXiv:2506.16659)."""

from dataclasses import dataclass
from typing import Literal, get_args

from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import SYMMETRY, Rms, block_mean
from adamantine.optim.unfused import Unfused
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.role import Is
from adamantine.route import Route
from adamantine.tree import Params

Block = Literal["row", "column", "tensor"]


@dataclass(frozen=True)
class Normalize(Part):
    """`u / max(r, eps)`, with `r` the root of the mean square of `u` over each row, column or tensor.

    A row is everything that enters one output, `x[i]`; vectors are a single block.
    """

    block: Block = "row"
    eps: float = 1e-8

    def __post_init__(self) -> None:
        limits.choice(self, get_args(Block), block=self.block)
        limits.positive(self, eps=self.eps)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Rotations inside a block."""
        return SYMMETRY[self.block]

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The normalized direction."""
        return {k: x / block_mean(x.square(), self.block).sqrt().clamp_min(self.eps) for k, x in u.items()}, s


def scale(
    lr: float,
    momentum: float = 0.9,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`Unfused(Route(Is, ...)) >> Decay >> Lr`: `Ema >> Normalize` for the head, `Normalize` for the other matrices
    and `Ema >> Rms` (Adam) for vectors (arXiv:2506.16659).

    The paper's columns are those of `y = x W`: all inputs of one output, a row of `[out, in]`, but all tokens of one
    feature, a column, of an embedding `[tokens, features]`, as in the authors' code. That code, followed here, makes
    the root mean square of a column 1, the paper its length: the rates differ by the root of the length.
    """
    adam = Ema(beta1) >> Rms(beta2, eps)
    matrices = Route(Is("embedding", "position"), Normalize("column"), Normalize("row"))
    rest = Route(Is("norm", "bias", "gain", "token"), adam, matrices)
    whole = Unfused(Route(Is("head"), Ema(momentum, debias=False) >> Normalize("row"), rest))
    return whole >> Decay(decay) >> Lr(lr, schedule)
