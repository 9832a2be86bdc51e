"""Learning-rate schedules: small values called with `(step, steps)`, answering with a factor."""

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """A factor on the rate at `step` of `steps`, counted from 0."""

    def __call__(self, step: int, steps: int) -> float:
        """The factor; positive at step 0."""
        ...


@dataclass(frozen=True)
class Constant:
    """1 throughout, after a linear warmup over the first `warmup` fraction of training."""

    warmup: float = 0.0

    def __call__(self, step: int, steps: int) -> float:
        """`min(1, (step + 1) / warmup steps)`."""
        return _warm(step, steps, self.warmup)


@dataclass(frozen=True)
class Cosine:
    """Linear warmup, then half a cosine from 1 down to `floor` (arXiv:1608.03983)."""

    warmup: float = 0.0
    floor: float = 0.0

    def __call__(self, step: int, steps: int) -> float:
        """`floor + (1 - floor) (1 + cos(pi t)) / 2`, `t` the progress since warmup."""
        if step < self.warmup * steps:
            return _warm(step, steps, self.warmup)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * _since(step, steps, self.warmup)))


@dataclass(frozen=True)
class Linear:
    """Linear warmup, then a straight line from 1 down to `floor`."""

    warmup: float = 0.0
    floor: float = 0.0

    def __call__(self, step: int, steps: int) -> float:
        """`1 - (1 - floor) t`, `t` the progress since warmup."""
        if step < self.warmup * steps:
            return _warm(step, steps, self.warmup)
        return 1 - (1 - self.floor) * _since(step, steps, self.warmup)


@dataclass(frozen=True)
class WarmupStableDecay:
    """Linear warmup, a plateau at 1, and a linear decay over the last `decay` fraction (arXiv:2405.18392)."""

    warmup: float = 0.05
    decay: float = 0.2
    floor: float = 0.0

    def __call__(self, step: int, steps: int) -> float:
        """The smaller of warmup's factor and the decay's."""
        if step < self.warmup * steps:
            return _warm(step, steps, self.warmup)
        left = (steps - step) / max(1.0, self.decay * steps)
        return self.floor + (1 - self.floor) * min(1.0, left)


def _warm(step: int, steps: int, warmup: float) -> float:
    return min(1.0, (step + 1) / max(1.0, warmup * steps))


def _since(step: int, steps: int, warmup: float) -> float:
    return (step - warmup * steps) / max(1.0, steps * (1 - warmup))
