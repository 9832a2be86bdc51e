"""Momentum: heavy ball (Polyak 1964), Nesterov's form (Sutskever et al. 2013), and the EMA of Adam (arXiv:1412.6980)."""

from dataclasses import dataclass

import torch

from adamantine import tree
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class Momentum(Part):
    """Heavy ball: `m <- beta m + u`; the direction is `m`, or `u + beta m` with `nesterov`."""

    beta: float = 0.9
    nesterov: bool = False
    symmetry = "rotation"

    def __post_init__(self) -> None:
        """Refuse a beta outside [0, 1)."""
        fraction("Momentum", "beta", self.beta)

    def init(self, w: Params) -> State:
        """`m`, zero."""
        return tree.each(torch.zeros_like, w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Accumulate, then answer with the accumulated direction."""
        m = tree.add(u, s, self.beta)
        return (tree.add(u, m, self.beta) if self.nesterov else m), m

    def state_bytes(self, w: Params) -> int:
        """One number a coordinate."""
        return tree.size_bytes(w)


@dataclass(frozen=True)
class Ema(Part):
    """Exponential moving average `m <- beta m + (1 - beta) u`, divided by `1 - beta^t` with `debias`."""

    beta: float = 0.9
    debias: bool = True
    symmetry = "rotation"

    def __post_init__(self) -> None:
        """Refuse a beta outside [0, 1)."""
        fraction("Ema", "beta", self.beta)

    def init(self, w: Params) -> State:
        """`m`, zero, and the step count."""
        return tree.each(torch.zeros_like, w), 0

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Average, then answer with the (debiased) average."""
        t = s[1] + 1
        m = tree.each(lambda m, x: m.lerp(x, 1 - self.beta), s[0], u)
        correction = 1 - self.beta**t if self.debias else 1.0
        return (tree.each(lambda x: x / correction, m) if self.debias else m), (m, t)

    def state_bytes(self, w: Params) -> int:
        """One number a coordinate."""
        return tree.size_bytes(w)


def fraction(part: str, name: str, value: float) -> None:
    """Raise ValueError unless `0 <= value < 1`."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{part}: {name} is {value}; it must be at least 0 and below 1.")
