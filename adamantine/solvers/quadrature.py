"""Stochastic Lanczos quadrature for the spectral density (Golub & Meurant 1994; Ghorbani et al., arXiv:1901.10159)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adamantine.solvers.estimate import Estimate, mean
from adamantine.solvers.lanczos import lanczos
from adamantine.solvers.operator import Operator


@dataclass(frozen=True)
class Density:
    """Where the eigenvalues of a `size x size` matrix lie: `nodes [probes, steps]` with `weights` that sum to one.

    Each row is the Gauss quadrature of one random start, exact for moments up to `2 steps - 1` of that start's
    measure; rows are independent, and every error is between them. `bounds` are the residual norms of the nodes.
    """

    nodes: Tensor
    weights: Tensor
    bounds: Tensor
    size: int
    products: int

    def moment(self, k: int) -> Estimate:
        """The mean of the `k`-th powers of the eigenvalues, `tr(a^k) / d`, without bias for `k < 2 steps`."""
        return mean((self.weights * self.nodes**k).sum(1), self.products)

    def share(self, low: float = -math.inf, high: float = math.inf) -> Estimate:
        """The share of eigenvalues in `(low, high]`."""
        if not bool(self.nodes.isfinite().all()):
            return Estimate(math.nan, math.nan, self.products)
        return mean((self.weights * ((self.nodes > low) & (self.nodes <= high))).sum(1), self.products)

    def quantile(self, q: float) -> Estimate:
        """The eigenvalue that a share `q` of them does not exceed: a node of all starts together.

        The error is half of the distance between the quantiles one standard error of the share below `q` and above
        (Woodruff 1952): up to twice too large where the nodes of a start are few, since a share moves by what a node
        weighs.
        """
        values, order = self.nodes.flatten().sort()
        reached = self.weights.flatten()[order].cumsum(0) / self.weights.sum()
        if not bool(reached.isfinite().all()):
            return Estimate(math.nan, math.nan, self.products)
        here = values[_first(reached, q)]
        shares = [_share(x, w, float(here)) for x, w in zip(self.nodes, self.weights, strict=True)]
        error = mean(torch.tensor(shares, dtype=torch.float64), 0).error
        high, low = (float(values[_first(reached, q + x)]) for x in (error, -error))
        return Estimate(float(here), (high - low) / 2 if math.isfinite(error) else math.nan, self.products)


def density(a: Operator, steps: int, probes: int, rng: torch.Generator) -> Density:
    """The spectral density of `a` from `steps` products for each of `probes` random starts.

    Fewer where a start's Krylov space ends sooner; its row is then filled up with nodes of no weight. NaN where a
    product is not finite. Raises ValueError for less than one step or probe.
    """
    if steps < 1 or probes < 1:
        raise ValueError(f"density: steps = {steps} and probes = {probes} must be at least 1.")
    before = a.count
    shape = probes, min(steps, a.size)
    nodes, weights, bounds = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
    for i in range(probes):
        found = lanczos(a, steps, rng)
        k = len(found.values)
        nodes[i], bounds[i] = found.values[-1], found.errors[-1]  # what fills a row up weighs nothing
        nodes[i, :k], weights[i, :k], bounds[i, :k] = found.values, found.weights, found.errors
        if math.isnan(float(found.values[0])):
            weights[i] = math.nan
    return Density(nodes, weights, bounds, a.size, a.count - before)


def _share(nodes: Tensor, weights: Tensor, x: float) -> float:
    """The weight below `x` of one start, half of a node's on either side and linear between: a step is too rough."""
    some = weights > 0
    w = weights[some]
    return float(np.interp(x, nodes[some], w.cumsum(0) - w / 2))


def _first(reached: Tensor, q: float) -> int:
    """Where the share `q` is reached."""
    wanted = torch.tensor(q - 1e-9, dtype=reached.dtype)
    return min(int(torch.searchsorted(reached, wanted)), len(reached) - 1)
