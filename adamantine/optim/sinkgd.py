"""SinkGD: gradients normalized by rows and columns in turn, with no state (Scetbon et al., arXiv:2502.06742)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.adam import adamw
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.times import Times
from adamantine.optim.unfused import Unfused
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.role import HIDDEN, Is
from adamantine.route import Route
from adamantine.tree import Params


def _unit(x: Tensor, axis: int) -> Tensor:
    """`x` with the root of the mean square 1 along `axis`; zero where it was."""
    return x / x.square().mean(axis, keepdim=True).sqrt().clamp_min(torch.finfo(x.dtype).tiny)


@dataclass(frozen=True)
class Sinkhorn(Part):
    """Bring the mean square of every row, then of every column of a matrix to 1, `rounds` times (SR-Sinkhorn).

    Tensors of more than two axes are taken as `x.flatten(1)`; vectors are one row. Permutations of rows or columns
    commute with it, but none of the named groups does.
    """

    rounds: int = 5
    symmetry: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        limits.whole(self, rounds=self.rounds)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The normalized direction."""
        return {k: self._normalized(x) for k, x in u.items()}, s

    def _normalized(self, x: Tensor) -> Tensor:
        if x.ndim < 2:
            return _unit(x.reshape(-1), 0).view_as(x)
        out = x.flatten(1)
        for _ in range(self.rounds):
            out = _unit(_unit(out, 1), 0)
        return out.view_as(x)


def sinkgd(
    lr: float,
    rounds: int = 5,
    share: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`Unfused(Route(Is, Sinkhorn >> Times(share) >> Decay >> Lr, AdamW))` (arXiv:2502.06742, algorithms 3 and 4).

    The trained matrices of the blocks are normalized, embeddings, head and vectors follow Adam. `share` is the
    matrices' rate over the others': 1 in the algorithm, 0.05 in the paper's runs.
    """
    normalized = Sinkhorn(rounds) >> Times(share) >> Decay(decay) >> Lr(lr, schedule)
    return Unfused(Route(Is(*HIDDEN), normalized, adamw(lr, beta1, beta2, eps, decay, schedule)))
