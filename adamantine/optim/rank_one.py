"""Scaling by a second moment of which only the row and column means are kept (Shazeer & Stern, arXiv:1804.04235).

A matrix `[n, m]` needs `n + m` numbers. Tensors of more than two axes are taken as `x.flatten(1)`; vectors and scalars
keep every coordinate.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.kernel import Code, Fused, Mean
from adamantine.live import SECOND, Live, Moment, steps_and_bias
from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params

Means = tuple[Params, Params]
UNCOUNTED = 1000  # steps that an average is taken to reach back when it has lost its count


OF_MATRICES = Code(
    "u *= $middle / sqrt($row) * $column;",
    (("r", "row"), ("c", "column")),
    ("share", "eps"),
    (
        Mean("row", "$r += $share * (mean + $eps - $r); $row = $r;", name="row"),
        Mean("column", "$c += $share * (mean + $eps - $c); $column = 1 / sqrt($c);", name="column"),
        Mean("rows", "$middle = sqrt(mean);", name="middle"),
    ),
)


def zero_means(w: Params) -> Means:
    """Row means `[n]` and column means `[m]` of every matrix, at zero."""
    pairs = {k: x.flatten(1) for k, x in w.items() if x.ndim > 1}
    return {k: x.new_zeros(len(x)) for k, x in pairs.items()}, {k: x.new_zeros(x.shape[1]) for k, x in pairs.items()}


def moved(means: Means, x: Params, share: float) -> Means:
    """The means moved by `share` of the way to those of the matrices `x`."""
    rows = {k: torch.lerp(r, x[k].flatten(1).mean(1), share) for k, r in means[0].items()}
    return rows, {k: torch.lerp(c, x[k].flatten(1).mean(0), share) for k, c in means[1].items()}


def scaled(u: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """`u / sqrt(v)` with `v[i, j] = row[i] column[j] / mean(row)`, the matrix of rank one with these means."""
    # The product of the two means would underflow in float32 where a gradient is zero.
    out = u.flatten(1) * (row / row.mean()).rsqrt()[:, None] * column.rsqrt()
    return out.view_as(u)


def mean_bytes(w: Params) -> int:
    """Bytes of one number a row and one a column of every matrix."""
    return sum((len(x) + x[0].numel()) * x.element_size() for x in w.values() if x.ndim > 1)


@dataclass(frozen=True)
class RankOne(Part):
    """Divide `u` by `sqrt(v)`, with `v` of rank one, `v[i, j] = r[i] c[j] / mean(r)`.

    `r` and `c` are averages of the means of `g^2 + eps` over each row and each column of the raw gradient, with the
    coefficient `1 - t^-power`, which needs no bias correction, or the constant `beta` where one is given. Of a vector
    every `v` is kept. Permutations of rows or columns commute with it, but none of the named groups does.
    """

    power: float = 0.8
    beta: float | None = None
    eps: float = 1e-30
    symmetry: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        limits.positive(self, power=self.power, eps=self.eps)
        if self.beta is not None:
            limits.betas(self, beta=self.beta)

    def init(self, w: Params) -> State:
        """`t = 0`; the means of matrices and the coordinates of vectors, zero."""
        return 0, zero_means(w), {k: torch.zeros_like(x) for k, x in w.items() if x.ndim < 2}

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The scaled direction."""
        t = s[0] + 1
        share = t**-self.power if self.beta is None else 1 - self.beta
        square = {k: p.grad[k].square() + self.eps for k in u}
        rows, columns = moved(s[1], square, share)
        v = {k: torch.lerp(x, square[k], share) for k, x in s[2].items()}
        out = {k: x * v[k].rsqrt() if k in v else scaled(x, rows[k], columns[k]) for k, x in u.items()}
        return out, (t, (rows, columns), v)

    def response(self, s: State, p: Point) -> Response:
        """One over the root."""
        _, (rows, columns), v = s
        ones = {k: torch.ones_like(p.w[k]) for k in rows}
        return response(p.w, {k: v[k].rsqrt() if k in v else scaled(ones[k], rows[k], columns[k]) for k in p.w})

    @property
    def units(self) -> tuple[str, ...]:
        """Divided by the root of a second moment, however it is kept."""
        return (SECOND,)

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`r[i] c[j] / mean(r)`, over `1 - beta^t` for a constant `beta`; nothing before the first step."""
        t, (rows, columns), v = s
        if not t or not w:
            return ()
        bias = 1.0 if self.beta is None else 1 - self.beta**t
        outer = {k: torch.outer(r / r.mean(), columns[k]).view_as(w[k]) for k, r in rows.items()}
        return (Moment(SECOND, {k: (v[k] if k in v else outer[k]) / bias for k in w}, t),)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """The row and column means, linear and so what would have been held from the start, `eps` added.

        The growing coefficient goes on at the number of steps, or at `UNCOUNTED` where none is told.
        """
        m = live.claim(SECOND, w)
        if m is None:
            return s
        t, held = (m.t or UNCOUNTED, 1.0) if self.beta is None else steps_and_bias(m, self.beta)
        value = {k: x * held + self.eps for k, x in m.value.items()}
        return t, moved(zero_means(w), value, 1.0), {k: x for k, x in value.items() if x.ndim < 2}

    def kind(self, x: Tensor) -> bool:
        """Vectors are scaled by other text than matrices."""
        return x.ndim < 2

    def fused(self, s: State, p: Point) -> Fused | None:
        """As `update`, for matrices alone or vectors alone."""
        t, (rows, columns), v = s
        share = (t + 1) ** -self.power if self.beta is None else 1 - self.beta
        if not rows:
            code = Code("$v += $share * (g * g + $eps - $v); u /= sqrt($v);", (("v", "full"),), ("share", "eps"))
            return Fused(code, (v,), (share, self.eps), (t + 1, *s[1:]))
        return None if v else Fused(OF_MATRICES, (rows, columns), (share, self.eps), (t + 1, *s[1:]))

    def state_bytes(self, w: Params) -> int:
        """A number a row and a column of a matrix, a number a coordinate of a vector."""
        return mean_bytes(w) + sum(x.numel() * x.element_size() for x in w.values() if x.ndim < 2)
