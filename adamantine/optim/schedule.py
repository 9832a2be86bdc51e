"""Schedules of the learning rate: factors that depend on the step and the number of steps.

Decays agree step for step with those of `transformers.optimization`. Warmups are one step ahead of them,
`(step + 1) / warmup`, so that no step is wasted on a rate of zero. Cosine: arXiv:1608.03983;
warmup-stable-decay: arXiv:2404.06395; its `1-sqrt` shape: arXiv:2405.18392.
"""

from dataclasses import dataclass
from math import cos, pi, sqrt
from typing import Literal, Protocol, get_args

from adamantine.optim import limits

Length = int | float
Fall = Literal["linear", "cosine", "1-sqrt"]


class Schedule(Protocol):
    """A frozen dataclass that maps `(step, steps)`, counted from zero, to a factor of the rate."""

    def __call__(self, step: int, steps: int) -> float:
        """The factor at `step` of `steps`."""
        ...


def span(length: Length, steps: int) -> int:
    """Steps in `length`: an integer is a number of steps, a float a fraction of `steps`, rounded."""
    return length if isinstance(length, int) else round(length * steps)


def fall(shape: Fall, progress: float) -> float:
    """From 1 at `progress = 0` to 0 at `progress = 1` and beyond."""
    x = min(max(progress, 0.0), 1.0)
    if shape == "linear":
        return 1 - x
    return (1 + cos(pi * x)) / 2 if shape == "cosine" else 1 - sqrt(x)


def _lengths(owner: object, **lengths: Length) -> None:
    limits.nonnegative(owner, **lengths)
    for name, x in lengths.items():
        if isinstance(x, float) and x > 1:
            raise ValueError(
                f"{type(owner).__name__}: {name} = {x!r} is a float and so a fraction of training, but exceeds 1; "
                "give an integer for a number of steps."
            )


def _floor(owner: object, floor: float) -> None:
    if not 0 <= floor <= 1:
        raise ValueError(
            f"{type(owner).__name__}: floor = {floor!r} must lie in [0, 1], as the fraction of the peak rate that "
            "is left at the end; divide by the peak."
        )


def _rise(warmup: Length, step: int, steps: int) -> float | None:
    n = span(warmup, steps)
    return (step + 1) / n if step < n else None


def _decayed(shape: Fall, floor: float, start: int, length: int, step: int) -> float:
    return floor + (1 - floor) * fall(shape, (step - start) / max(1, length))


@dataclass(frozen=True)
class Constant:
    """1 at every step."""

    def __call__(self, step: int, steps: int) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Warmup:
    """`(step + 1) / warmup` during the warmup (steps, or a fraction of training), then 1."""

    warmup: Length = 0.1

    def __post_init__(self) -> None:
        _lengths(self, warmup=self.warmup)

    def __call__(self, step: int, steps: int) -> float:
        """The factor."""
        rise = _rise(self.warmup, step, steps)
        return 1.0 if rise is None else rise


@dataclass(frozen=True)
class Cosine:
    """Warmup, then half a cosine wave from 1 to `floor` at `steps`."""

    warmup: Length = 0.1
    floor: float = 0.0

    def __post_init__(self) -> None:
        _lengths(self, warmup=self.warmup)
        _floor(self, self.floor)

    def __call__(self, step: int, steps: int) -> float:
        """The factor."""
        rise, n = _rise(self.warmup, step, steps), span(self.warmup, steps)
        return _decayed("cosine", self.floor, n, steps - n, step) if rise is None else rise


@dataclass(frozen=True)
class Linear:
    """Warmup, then a straight line from 1 to `floor` at `steps`."""

    warmup: Length = 0.1
    floor: float = 0.0

    def __post_init__(self) -> None:
        _lengths(self, warmup=self.warmup)
        _floor(self, self.floor)

    def __call__(self, step: int, steps: int) -> float:
        """The factor."""
        rise, n = _rise(self.warmup, step, steps), span(self.warmup, steps)
        return _decayed("linear", self.floor, n, steps - n, step) if rise is None else rise


@dataclass(frozen=True)
class WarmupStableDecay:
    """Warmup, then 1, then over the last `decay` of training a fall of the given `shape` to `floor`."""

    warmup: Length = 0.1
    decay: Length = 0.2
    floor: float = 0.0
    shape: Fall = "linear"

    def __post_init__(self) -> None:
        _lengths(self, warmup=self.warmup, decay=self.decay)
        _floor(self, self.floor)
        limits.choice(self, get_args(Fall), shape=self.shape)

    def __call__(self, step: int, steps: int) -> float:
        """The factor."""
        rise, n = _rise(self.warmup, step, steps), span(self.decay, steps)
        return _decayed(self.shape, self.floor, steps - n, n, step) if rise is None else rise
