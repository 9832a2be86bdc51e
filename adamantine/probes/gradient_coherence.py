"""How far the gradients of single examples agree: their cosines, and whether a batch's gradient can be trusted.

The mean cosine is the stiffness of arXiv:1901.09491; the tests are those of arXiv:1710.11258, the norm's that of Byrd,
Chin, Nocedal & Wu (2012).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.estimate import jackknife_error


@dataclass(frozen=True)
class GradientCoherence:
    """Mean cosine of the gradients of two different examples, and three tests of the batch's gradient.

    With the mean `G` and covariance `Sigma` of single gradients and the batch size `B`, the expected squared error of
    the batch's gradient relative to `|G|^2` is `norm_test = tr Sigma / (B |G|^2)`, of which
    `inner_product_test = G' Sigma G / (B |G|^4)` lies along `G` and `orthogonality_test`, the rest, across. A test with
    the tolerance `theta` is passed where its number is at most `theta^2`.

    All from the inner products of all pairs of examples, in which no example is paired with itself: `coherence` is
    without bias, the tests are ratios of estimates without bias, so that a small one may be negative. They are
    infinite where the estimate of `|G|^2`, or of `|G|^4`, is not positive. Errors are the jackknife's over examples.
    Coherence is NaN for less than three examples and where a gradient is zero, the tests are for less than five.
    Raises ValueError where the loss does not split by example.
    """

    units: ClassVar[dict[str, str]] = {
        "coherence": "mean cosine of the gradients of two examples; -1 to 1",
        "norm_test": "squared error of the batch's gradient, tr Sigma / (B |G|^2); theta^2",
        "inner_product_test": "its part along the gradient, G' Sigma G / (B |G|^4); theta^2",
        "orthogonality_test": "its part across the gradient; theta^2",
    }
    cost: ClassVar[dict[str, int]] = {"each_gram": 1}
    bound: ClassVar[str] = "unbiased"
    caveat: ClassVar[str] = (
        "Coherence weighs an example with a tiny gradient as much as any other; and where the gradient hardly stands "
        "out of the noise, the tests are infinite or of enormous error."
    )

    def __call__(self, p: Point) -> dict[str, float]:
        """`coherence`, `norm_test`, `inner_product_test` and `orthogonality_test`, each with its error."""
        gram = p.each_gram().detach().double().cpu()
        n, length = len(gram), gram.diag().clamp(min=0).sqrt()
        names = ("coherence", "norm_test", "inner_product_test", "orthogonality_test")
        nan = torch.full((3, 2), math.nan, dtype=gram.dtype)
        cosine = _jackknife(gram / (length[:, None] * length), _mean_of_pairs) if n > 2 else nan[:1]
        tests = _jackknife(gram, _tests) if n > 4 else nan
        found = zip(names, torch.cat([cosine, tests]).tolist(), strict=True)
        return {k: x for name, pair in found for k, x in zip((name, f"{name}_error"), pair, strict=True)}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """Gradients that are all equal agree."""
        return {"coherence": 1.0}


class _Sums(NamedTuple):
    """Over a Gram matrix of `n` examples with the diagonal `q` and the rest `R`; of a batch of size `batch`."""

    batch: int
    n: int
    norms: Tensor  # sum_i q_i
    pairs: Tensor  # sum_ij R_ij
    triples: Tensor  # sum_i (sum_j R_ij)^2
    squares: Tensor  # sum_ij R_ij^2


def _jackknife(k: Tensor, f: Callable[[_Sums], Tensor]) -> Tensor:
    """`f` of the Gram matrix and its standard error from leaving out each of the examples, `[m, 2]`."""
    n, q = len(k), k.diag()
    r = k - q.diag()
    rows, squares = r.sum(1), r.square().sum(1)
    whole = _Sums(n, n, q.sum(), rows.sum(), rows.square().sum(), squares.sum())
    left = _Sums(
        n,
        n - 1,
        whole.norms - q,
        whole.pairs - 2 * rows,
        whole.triples - rows.square() - 2 * (r @ rows) + squares,
        whole.squares - 2 * squares,
    )
    return torch.stack([f(whole), jackknife_error(f(left).T)], 1)


def _mean_of_pairs(s: _Sums) -> Tensor:
    return (s.pairs / (s.n * (s.n - 1)))[None]


def _tests(s: _Sums) -> Tensor:
    """The squared error whole, along `G` and across, from means over distinct examples."""
    n = s.n
    square = s.pairs / (n * (n - 1))  # |G|^2
    variance = s.norms / n - square  # tr Sigma
    along_squared = (s.triples - s.squares) / (n * (n - 1) * (n - 2))  # G' (Sigma + G G') G
    fourth = (s.pairs.square() - 4 * s.triples + 2 * s.squares) / (n * (n - 1) * (n - 2) * (n - 3))  # |G|^4
    norm = torch.where(square > 0, variance / (s.batch * square), math.inf)
    along = torch.where(fourth > 0, (along_squared - fourth) / (s.batch * fourth), math.inf)
    across = torch.where(along < math.inf, norm - along, math.inf)
    told = torch.isfinite(s.norms)  # and not a comparison with NaN
    return torch.where(told, torch.stack([norm, along, across]), math.nan)
