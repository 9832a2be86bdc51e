"""NorMuon: Muon with its rows brought to equal size by a second moment a row (Li et al., arXiv:2510.05491)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.adam import adamw
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.polar import Method, Orthogonalize, Shaping, matrices
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.unfused import Unfused
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.role import HIDDEN, Is, Tags
from adamantine.route import Route
from adamantine.tree import Params


@dataclass(frozen=True)
class EqualRows(Part):
    """Divide each row of `u` by `sqrt(v) + eps`, `v <- beta v + (1 - beta) mean of u^2`, and restore the matrix's norm.

    It looks at the direction, not at the gradient. A correction for the start would cancel against the norm. Tensors
    of more than two axes are seen as `Orthogonalize` sees them; one below two axes is a single row.
    """

    beta: float = 0.95
    eps: float = 1e-10
    tags: Tags | None = None
    symmetry: ClassVar[str] = "row rotation"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta)
        limits.positive(self, eps=self.eps)

    def _rows(self, k: str, x: Tensor) -> Tensor:
        return matrices(k, x, self.tags) if x.ndim > 1 else x.reshape(1, -1)

    def init(self, w: Params) -> State:
        """`v = 0`, one value a row, `[..., m, 1]`."""
        return {k: torch.zeros_like(self._rows(k, x)[..., :1]) for k, x in w.items()}

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`d |u| / |d|` with `d = u / (sqrt(v) + eps)`."""
        out, v = {}, {}
        for k, x in u.items():
            y = self._rows(k, x)
            v[k] = torch.lerp(s[k], y.square().mean(-1, keepdim=True), 1 - self.beta)
            d = y / (v[k].sqrt() + self.eps)
            before, after = (torch.linalg.matrix_norm(z, keepdim=True) for z in (y, d))
            out[k] = (d * (before / (after + self.eps))).reshape(x.shape)
        return out, v

    def state_bytes(self, w: Params) -> int:
        """One value a row."""
        return sum(self._rows(k, x)[..., 0].numel() * x.element_size() for k, x in w.items())


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
    """`Unfused(Route(Is(*HIDDEN), Ema >> Orthogonalize >> EqualRows >> Decay >> Lr, adamw))` (arXiv:2510.05491).

    The norm of the orthogonal factor is kept, as in the authors' code; the paper sets it to `0.2 (m n)^.5`, which
    `shaping="match_rms_adamw"` is up to the error of the iteration. `adam_ratio` is as in `muon`.
    """
    hidden = Ema(momentum, debias=False, nesterov=nesterov) >> Orthogonalize(method, iterations, shaping)
    rest = adamw(adam_ratio * lr, beta1, beta2, eps, decay, schedule)
    rows = hidden >> EqualRows(beta) >> Decay(decay) >> Lr(lr, schedule)
    return Unfused(Route(Is(*HIDDEN), rows, rest))
