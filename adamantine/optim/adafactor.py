"""Adafactor (Shazeer & Stern, arXiv:1804.04235): rank-one second moment, clipped update, steps relative to the weights.

What libraries call by this name differs: torch and Hugging Face factor the last two axes of a tensor and clip alike;
torch lets the rate fall as `1 / sqrt(t)` by itself; optax factors only sides of at least 128 unless told otherwise.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine.kernel import Code, Fused, Mean
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.rank_one import RankOne
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params


def rms(x: Tensor) -> Tensor:
    """Root of the mean square over all coordinates, a scalar."""
    return x.square().mean().sqrt()


@dataclass(frozen=True)
class ClipRms(Part):
    """`u / max(1, rms(u) / limit)`, each tensor by itself: its mean square stays at most `limit^2` (1804.04235, 6)."""

    limit: float
    symmetry: ClassVar[str] = "layer rotation"

    def __post_init__(self) -> None:
        limits.positive(self, limit=self.limit)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The clipped direction."""
        return {k: x / (rms(x) / self.limit).clamp_min(1.0) for k, x in u.items()}, s

    def response(self, s: State, p: Point) -> Response:
        """The factor of this step, held still."""
        return response(p.w, {k: 1 / (rms(p.grad[k]) / self.limit).clamp_min(1.0) for k in p.w})

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        size = Mean("tensor", "const T r = sqrt(mean) * $over; $size = 1 / (r > 1 ? r : 1);", "x = u * u;", "size")
        return Fused(Code("u *= $size;", (), ("over",), (size,)), (), (1 / self.limit,), s)


@dataclass(frozen=True)
class Relative(Part):
    """`max(floor, rms(w)) u`, each tensor by itself: steps as a fraction of the weights (1804.04235, section 8)."""

    floor: float = 1e-3
    symmetry: ClassVar[str] = "layer rotation"

    def __post_init__(self) -> None:
        limits.nonnegative(self, floor=self.floor)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The scaled direction."""
        return {k: x * rms(p.w[k]).clamp_min(self.floor) for k, x in u.items()}, s

    def response(self, s: State, p: Point) -> Response:
        """The factor of this step, held still."""
        return response(p.w, {k: rms(x).clamp_min(self.floor) for k, x in p.w.items()})

    def fused(self, s: State, p: Point) -> Fused:
        """As `update`."""
        size = Mean("tensor", "$size = sqrt(mean); if ($size < $floor) $size = $floor;", "x = w * w;", "size")
        return Fused(Code("u *= $size;", (), ("floor",), (size,)), (), (self.floor,), s)


def adafactor(
    lr: float,
    beta1: float = 0.0,
    power: float = 0.8,
    eps: float = 1e-30,
    limit: float = 1.0,
    relative: bool = True,
    floor: float = 1e-3,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`RankOne >> ClipRms >> Ema >> Relative >> Decay >> Lr` (arXiv:1804.04235, algorithms 4 and 5).

    `lr` is the paper's relative step, `min(0.01, 1 / sqrt(t))`; `relative=False` takes it as an absolute one. `Ema`,
    without bias correction, is there where `beta1` is not zero; the paper proposes none.
    """
    part = RankOne(power, None, eps) >> ClipRms(limit)
    part = part >> Ema(beta1, debias=False) if beta1 else part
    part = part >> Relative(floor) if relative else part
    return part >> Decay(decay) >> Lr(lr, schedule)
