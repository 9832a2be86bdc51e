"""NAdam's Nesterov momentum with its warming schedule (Dozat 2016), as in torch."""

from dataclasses import dataclass

import torch

from adamantine import tree
from adamantine.optim.momentum import fraction
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params


@dataclass(frozen=True)
class NadamMomentum(Part):
    """`mu' m / (1 - M mu') + (1 - mu) u / (1 - M)`, `mu_t = beta (1 - 0.96^(t psi) / 2)`, `M` the product of all `mu` so far."""

    beta: float = 0.9
    psi: float = 4e-3
    symmetry = "rotation"

    def __post_init__(self) -> None:
        """Refuse a beta outside [0, 1)."""
        fraction("NadamMomentum", "beta", self.beta)

    def init(self, w: Params) -> State:
        """`m`, zero, the step count and the product of the momenta."""
        return tree.each(torch.zeros_like, w), 0, 1.0

    def _mu(self, t: int) -> float:
        return self.beta * (1 - 0.5 * 0.96 ** (t * self.psi))

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Average with `beta`, look ahead with `mu`."""
        t = s[1] + 1
        mu, ahead = self._mu(t), self._mu(t + 1)
        product = s[2] * mu
        m = tree.each(lambda m, x: m.lerp(x, 1 - self.beta), s[0], u)
        a, b = (1 - mu) / (1 - product), ahead / (1 - product * ahead)
        return tree.each(lambda x, m: a * x + b * m, u, m), (m, t, product)

    def state_bytes(self, w: Params) -> int:
        """One number a coordinate."""
        return tree.size_bytes(w)
