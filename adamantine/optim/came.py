"""CAME: Adafactor with momentum, slowed where update and momentum disagree (Luo et al., arXiv:2307.02047)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.kernel import Code, Fused, Mean
from adamantine.live import FIRST, Live, Moment, uncounted
from adamantine.optim import limits
from adamantine.optim.adafactor import ClipRms
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.rank_one import RankOne, mean_bytes, moved, scaled, zero_means
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, averaged, response
from adamantine.tree import Params, size_bytes

APART = "const T old = $m, new = old + $near * (u - old); x = (u - new) * (u - new);"
OF_MATRICES = Code(
    "$m += $near * (u - $m); u = $m * $middle / sqrt($row) * $column;",
    (("m", "full"), ("r", "row"), ("c", "column")),
    ("near", "share", "eps"),
    (
        Mean("row", "$r += $share * (mean + $eps - $r); $row = $r;", APART, "row"),
        Mean("column", "$c += $share * (mean + $eps - $c); $column = 1 / sqrt($c);", APART, "column"),
        Mean("rows", "$middle = sqrt(mean);", name="middle"),
    ),
)


@dataclass(frozen=True)
class Confidence(Part):
    """`m / sqrt(S)`: the average `m <- beta m + (1 - beta) u` over its own instability.

    `S` is the rank-one average, with `beta_instability`, of `(u - m)^2 + eps`, as in `RankOne`. Vectors get `m` alone.
    Neither average is corrected for its start at zero.
    """

    beta: float = 0.9
    beta_instability: float = 0.9999
    eps: float = 1e-16
    symmetry: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        limits.betas(self, beta=self.beta, beta_instability=self.beta_instability)
        limits.positive(self, eps=self.eps)

    def init(self, w: Params) -> State:
        """`m = 0`, and the row and column means of `S`, zero."""
        return {k: torch.zeros_like(x) for k, x in w.items()}, zero_means(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The average, scaled."""
        m = {k: torch.lerp(s[0][k], x, 1 - self.beta) for k, x in u.items()}
        apart = {k: (x - m[k]).square() + self.eps for k, x in u.items()}
        rows, columns = moved(s[1], apart, 1 - self.beta_instability)
        return {k: scaled(x, rows[k], columns[k]) if k in rows else x for k, x in m.items()}, (m, (rows, columns))

    def response(self, s: State, p: Point) -> Response:
        """The average's, over the root."""
        m, (rows, columns) = s
        scale = {k: scaled(torch.ones_like(x), rows[k], columns[k]) if k in rows else 1.0 for k, x in m.items()}
        return response(p.w, scale, averaged(self.beta), out={k: x * scale[k] for k, x in m.items()})

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The average, steps uncounted; nothing while it is zero. The instability is nobody else's."""
        return uncounted(FIRST, s[0])

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """The average; its instability starts anew."""
        m = live.claim(FIRST, w)
        return s if m is None else (m.value, s[1])

    def kind(self, x: Tensor) -> bool:
        """Vectors have no instability."""
        return x.ndim < 2

    def fused(self, s: State, p: Point) -> Fused | None:
        """As `update`, for matrices alone or vectors alone."""
        m, (rows, columns) = s
        if not rows:
            return Fused(
                Code("$m += $near * (u - $m); u = $m;", (("m", "full"),), ("near",)), (m,), (1 - self.beta,), s
            )
        numbers = (1 - self.beta, 1 - self.beta_instability, self.eps)
        return Fused(OF_MATRICES, (m, rows, columns), numbers, s) if len(rows) == len(m) else None

    def state_bytes(self, w: Params) -> int:
        """One copy of the weights, and a number a row and a column of a matrix."""
        return size_bytes(w) + mean_bytes(w)


def came(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    beta3: float = 0.9999,
    eps1: float = 1e-30,
    eps2: float = 1e-16,
    limit: float = 1.0,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`RankOne >> ClipRms >> Confidence >> Decay >> Lr` (arXiv:2307.02047, algorithm 2).

    The authors' code factors the last two axes of a tensor; here the first stands against all the others.
    """
    confident = Confidence(beta1, beta3, eps2)
    return RankOne(beta=beta2, eps=eps1) >> ClipRms(limit) >> confident >> Decay(decay) >> Lr(lr, schedule)
