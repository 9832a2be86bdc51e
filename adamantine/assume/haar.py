"""What a random rotation of all coordinates makes of a Hessian, on average: moments over the Haar measure."""

import math
from dataclasses import dataclass

from adamantine.point import Point
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class Entries:
    """Mean squares of entries of `Q H Q'` over its squared Frobenius norm, for a Haar-random `Q` of `size` coordinates.

    Of a diagonal entry `(r + 2) / (d (d + 2))`, of another one `(d - r) / (d (d - 1) (d + 2))`, with the effective rank
    `r = (tr H)^2 / |H|_F^2`.
    """

    diagonal: float
    other: float
    size: int


def entries(p: Point, probes: int) -> Entries:
    """From `probes` products with random signs; the square of the trace from pairs of different ones, without bias."""
    a, rng, traces, squares = hessian(p), p.rng("effective rank"), [], []
    for _ in range(probes):
        z = a.signs(rng)
        image = a @ z
        traces.append(float(z @ image))
        squares.append(float(image.square().sum()))
    square = (sum(traces) ** 2 - sum(x * x for x in traces)) / (probes * (probes - 1))
    r, d = square / (sum(squares) / probes or math.nan), a.size
    return Entries((r + 2) / (d * (d + 2)), (d - r) / (d * (d - 1) * (d + 2)) if d > 1 else 0.0, d)
