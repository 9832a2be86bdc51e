"""How near the update of a matrix is to an orthogonal one (Maes, Zhang et al., arXiv:2410.19964; nuclear rank: Davis &
Drusvyatskiy, arXiv:2512.04299), beside what noise of that shape would be (Marchenko & Pastur 1967).
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.probes.known import update

NAMES: tuple[str, ...] = ("nuclear_rank", "orthogonality", "singular_spread", "excess_spread")


@dataclass(frozen=True)
class UpdateOrthogonality:
    """How equal the singular values of the update are, matrix by matrix, and the mean over matrices.

    Of the update `U`, `[m, n]` with `m >= n` (`x.flatten(1)` of more axes), `nuclear_rank` is `|U|_*^2 / |U|_F^2`, from
    1 to `n`; `orthogonality`, that over `n`, is 1 where all singular values are equal; `singular_spread` is their
    standard deviation over their mean, `sqrt(n / nuclear_rank - 1)`, so that both say the same; `excess_spread` is what
    it exceeds that of a large matrix of independent noise by, which is 0.623 for a square and falls as the shape gets
    longer: 0.386 at 2 : 1, 0.261 at 4 : 1. Not changed by rotations of rows or columns. Tensors without two axes longer
    than 1 take no part. An update of zero, or of no numbers, gives NaN and is left out of the mean.

    By eigenvalues of `U' U` in double precision, which take `m n^2` operations; where `U` has no full rank the relative
    error is about 1e-8 a missing rank. Raises ValueError where the point knows no update, or no update of a matrix.
    """

    units: ClassVar[dict[str, str]] = {
        "nuclear_rank": "|U|_*^2 / |U|_F^2, from 1 to the shorter side",
        "orthogonality": "nuclear rank over the shorter side, at most 1",
        "singular_spread": "standard deviation of the singular values over their mean",
        "excess_spread": "singular spread minus that of independent noise of this shape",
    }
    cost: ClassVar[dict[str, int]] = {}
    caveat: ClassVar[str] = (
        "Noise of the batch is close to orthogonal, so that small batches and long matrices lower the spread: compare "
        "one shape at one batch size. Rows of an embedding that no example met are zero and raise it, and it does not "
        "tell how good an update is: updates of very different spreads can train equally well."
    )

    def __call__(self, p: Point) -> dict[str, float]:
        """All of `units`, each for every matrix too."""
        u = _matrices(p)
        rank = torch.stack([_nuclear_rank(x) for x in u.values()]).cpu()  # one transfer of all
        n = torch.tensor([min(x.shape) for x in u.values()])
        null = torch.tensor([noise_spread(min(x.shape) / max(x.shape)) for x in u.values()]).to(rank)
        spread = (n / rank - 1).clamp_min(0).sqrt()
        found = torch.stack([rank, rank / n, spread, spread - null], 1)
        out: dict[str, float] = dict(zip(NAMES, found.nanmean(0).tolist(), strict=True))
        for k, row in zip(u, found.tolist(), strict=True):
            out |= {f"{name}/{k}": x for name, x in zip(NAMES, row, strict=True)}
        return out

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The same by singular values."""
        found = []
        for x in _matrices(p).values():
            s = torch.linalg.svdvals(x.double())
            rank, spread = float(s.sum() ** 2 / s.square().sum()), float(s.std(correction=0) / s.mean())
            null = noise_spread(min(x.shape) / max(x.shape))
            found.append((rank, rank / len(s), spread, spread - null))
        return dict(zip(NAMES, torch.tensor(found, dtype=torch.float64).mean(0).tolist(), strict=True))


@cache
def noise_spread(ratio: float) -> float:
    """Standard deviation over mean of the singular values of a large matrix of independent noise, `ratio = n / m <= 1`.

    The mean of `sqrt(x)` over the Marchenko-Pastur density of the squares, whose mean is 1, by the trapezoidal rule
    with `x = 1 + ratio + 2 sqrt(ratio) cos(t)`.
    """
    t = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)[1:-1]  # the integrand is zero at both ends
    x = 1 + ratio + 2 * ratio**0.5 * t.cos()
    mean = 2 * float((t.sin().square() / x.sqrt()).sum()) / 20_000
    return math.sqrt(1 / mean**2 - 1)


def _matrices(p: Point) -> dict[str, Tensor]:
    u = update(p, "UpdateOrthogonality")
    found = {k: u[k].flatten(1) for k in p.w if u[k].ndim > 1}
    found = {k: x for k, x in found.items() if min(x.shape) > 1}
    if not found:
        raise ValueError(
            f"UpdateOrthogonality: none of {', '.join(p.w)} is a matrix, whose singular values it looks at; leave it "
            "out here."
        )
    return found


def _nuclear_rank(x: Tensor) -> Tensor:
    """NaN where `x` is zero or not finite."""
    largest = x.abs().amax()
    scaled = x / torch.where((largest > 0) & largest.isfinite(), largest, torch.nan)
    tall = scaled.double() if x.shape[0] >= x.shape[1] else scaled.double().T
    squares = torch.linalg.eigvalsh((tall.T @ tall).nan_to_num()).clamp_min(0)  # it raises on NaN
    rank = squares.sqrt().sum().square() / squares.sum()
    return torch.where(scaled.isnan().any(), torch.nan, rank)
