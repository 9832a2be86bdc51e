"""How many directions share the curvature, or the gradients: `(tr A)^2 / |A|_F^2`.

The participation ratio of the eigenvalues of `A` (Bell & Dean 1970); for the second moment of the gradients it says how
far a random rotation evens out a second-moment optimizer's rates.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.solvers.estimate import jackknife_error
from adamantine.solvers.operator import gauss_newton, hessian

MATRICES = {"hessian": hessian, "gauss_newton": gauss_newton}


@dataclass(frozen=True)
class EffectiveRank:
    """`(tr H)^2 / |H|_F^2` of the `matrix`, "hessian" or "gauss_newton": 1 for rank one, `d` for the identity.

    From `products` products with random signs `z`: `(tr H)^2` from pairs of different `z' H z` and `|H|_F^2` from
    `|H z|^2`, both without bias; their ratio is corrected by the jackknife, and its error is the jackknife's.
    """

    matrix: str = "hessian"
    products: int = 16
    units: ClassVar[dict[str, str]] = {"curvature_rank": "(tr H)^2 / |H|_F^2; directions"}
    bound: ClassVar[str] = "unbiased"
    caveat: ClassVar[str] = (
        "Of an indefinite Hessian it is no rank: eigenvalues of both signs cancel in the trace, down to zero."
    )

    def __post_init__(self) -> None:
        """Refuse another matrix and too few products."""
        if self.matrix not in MATRICES:
            raise ValueError(f"EffectiveRank: matrix {self.matrix!r} is not one of {', '.join(MATRICES)}.")
        if self.products < 4:
            raise ValueError(f"EffectiveRank: products = {self.products} must be at least 4, or there is no error.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {{"hessian": "hvp", "gauss_newton": "ggn"}[self.matrix]: self.products}

    def __call__(self, p: Point) -> dict[str, float]:
        """`curvature_rank` and `curvature_rank_error`."""
        a, rng, traces, squares = MATRICES[self.matrix](p), p.rng("rank"), [], []
        for _ in range(self.products):
            z = a.signs(rng)
            image = a @ z
            traces.append(float(z @ image))
            squares.append(float(image.square().sum()))
        t, f = torch.tensor(traces, dtype=torch.float64), torch.tensor(squares, dtype=torch.float64)
        n = self.products

        def ratio(t: Tensor, q: Tensor, f: Tensor, n: int) -> Tensor:
            """Of sums of `t`, of its squares, and of `f`, over `n` draws."""
            return (t.square() - q) / (n * (n - 1)) / (f / n)

        sums = t.sum(), t.square().sum(), f.sum()
        without = ratio(sums[0] - t, sums[1] - t.square(), sums[2] - f, n - 1)
        return _corrected("curvature_rank", ratio(*sums, n), without)

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        return {"curvature_rank": float(h.trace().square() / h.square().sum())}


@dataclass(frozen=True)
class GradientRank:
    """`(tr C)^2 / |C|_F^2` of `C = E[g g']`, the second moment of the gradients `g` of single examples.

    From the inner products of all pairs of examples: `(tr C)^2` is the mean of `|g_i|^2 |g_j|^2` and `|C|_F^2` that of
    `<g_i, g_j>^2` over `i != j`, both without bias for the distribution that the examples come from. Their ratio is
    corrected by the jackknife over examples, whose standard error `gradient_rank_error` is; for a few examples that
    hardly overlap it is up to 1.5 times too large. A value below 1, which the ratio cannot have, is told as 1. Costs
    one round of per-example products. NaN where all gradients are zero, or orthogonal, and for less than four examples.
    Raises ValueError where the loss does not split by example.
    """

    units: ClassVar[dict[str, str]] = {"gradient_rank": "(tr C)^2 / |C|_F^2 of C = E[g g']; directions"}
    cost: ClassVar[dict[str, int]] = {"each_gram": 1}
    bound: ClassVar[str] = "unbiased"
    caveat: ClassVar[str] = (
        "Where few examples carry most of the squared gradient, as late in training, or few pairs overlap, a batch "
        "does not tell, and the error is as large as the value; the mean gradient is part of C."
    )

    def __call__(self, p: Point) -> dict[str, float]:
        """`gradient_rank` and `gradient_rank_error`."""
        gram = p.each_gram().double().cpu()
        n = len(gram)
        if n < 4:
            return {"gradient_rank": math.nan, "gradient_rank_error": math.nan}
        norms, pairs = gram.diag(), gram.square().fill_diagonal_(0)
        total, square = norms.sum(), norms.square()
        above, below = total.square() - square.sum(), pairs.sum()
        less_above = (total - norms).square() - (square.sum() - square)
        less_below = below - 2 * pairs.sum(1)
        found = _corrected("gradient_rank", above / below, less_above / less_below)
        below_one = found["gradient_rank"] < 1  # and not NaN
        return {**found, "gradient_rank": 1.0} if below_one else found

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """One, where the examples add no noise: all gradients are equal."""
        return {"gradient_rank": 1.0 if float(tree.norm(p.w)) > 0 else math.nan}


def _corrected(name: str, value: Tensor, without: Tensor) -> dict[str, float]:
    """Less the jackknife's estimate of the bias, with its standard error."""
    n = len(without)
    corrected = n * value - (n - 1) * without.mean()
    return {name: float(corrected), f"{name}_error": float(jackknife_error(without))}
