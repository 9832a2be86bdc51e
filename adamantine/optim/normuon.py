"""NorMuon: Muon with its rows brought to equal size by a second moment a row (Li et al., arXiv:2510.05491)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from adamantine.optim import limits
from adamantine.optim.adam import adamw
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.polar import Method, Orthogonalize, Shaping
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import block_bytes, block_means
from adamantine.part import Part, Route, State
from adamantine.point import Point
from adamantine.role import HIDDEN, Is
from adamantine.tree import Params, each


@dataclass(frozen=True)
class EqualRows(Part):
    """Divide each row of `u` by `sqrt(v) + eps`, `v <- beta v + (1 - beta) mean of u^2`, and restore the tensor's norm.

    It looks at the direction, not at the gradient. A correction for the start would cancel against the norm.
    """

    beta: float = 0.95
    eps: float = 1e-10
    symmetry: ClassVar[str] = "row rotation"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.positive(self, eps=self.eps)

    def init(self, w: Params) -> State:
        """`v = 0`, one value a row."""
        return block_means(each(torch.zeros_like, w), "row")

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`d |u| / |d|` with `d = u / (sqrt(v) + eps)`."""
        v = {k: torch.lerp(s[k], x, 1 - self.beta) for k, x in block_means(each(torch.square, u), "row").items()}
        out = {}
        for k, x in u.items():
            d = x / (v[k].sqrt() + self.eps)
            out[k] = d * (torch.linalg.vector_norm(x) / (torch.linalg.vector_norm(d) + self.eps))
        return out, v

    def state_bytes(self, w: Params) -> int:
        """One value a row."""
        return block_bytes(w, "row")


def normuon(
    lr: float,
    momentum: float = 0.95,
    nesterov: bool = True,
    beta: float = 0.95,
    decay: float = 0.0,
    shaping: Shaping = "original",
    method: Method = "newton-schulz",
    iterations: int = 5,
    adam_ratio: float = 0.015,
    beta1: float = 0.9,
    beta2: float = 0.95,
    eps: float = 1e-10,
    schedule: Schedule = Constant(),
) -> Part:
    """`Route(Is(*HIDDEN), Ema >> Orthogonalize >> EqualRows >> Decay >> Lr, adamw)` (arXiv:2510.05491).

    The norm of the orthogonal factor is kept, as in the authors' code; the paper sets it to `0.2 (m n)^.5`, which
    `shaping="match_rms_adamw"` is up to the error of the iteration. `adam_ratio` is as in `muon`.
    """
    hidden = Ema(momentum, debias=False, nesterov=nesterov) >> Orthogonalize(method, iterations, shaping)
    rest = adamw(adam_ratio * lr, beta1, beta2, eps, decay, schedule)
    return Route(Is(*HIDDEN), hidden >> EqualRows(beta) >> Decay(decay) >> Lr(lr, schedule), rest)
