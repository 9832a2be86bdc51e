"""Block spectra: tensors whose curvatures are differently distributed, in shape or in size."""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.solvers.estimate import jackknife_error
from adamantine.solvers.operator import hessian
from adamantine.solvers.quadrature import density

FLOOR = 0.3  # of the root mean square: eigenvalues below it are compared linearly, those above by their logarithm
WIDTH = 0.5  # of the kernel, in units of `asinh`: half of a factor of e
GRID = 400


@dataclass(frozen=True)
class BlockSpectra:
    """The mean over pairs of tensors of the Jensen-Shannon distance between the spectra of their Hessian blocks.

    Between 0, for equal spectra, and 1, for spectra that do not overlap: the root of the divergence over `log 2`, of
    eigenvalues over the root mean square of their block, so that only the shapes of spectra are compared; the published
    number has sizes and shapes in one, and is not normalized. Spectra are smoothed on the axis `asinh(x / 0.3)` by a
    Gaussian of half a unit. `block_spectra/size` tells sizes: the standard deviation over tensors of the root mean
    square eigenvalue's logarithm, in decades. Exact for blocks of up to `dense` coordinates; of others the spectra come
    from stochastic Lanczos quadrature with `probes` starts of `steps` products, the error is the jackknife's over
    starts, and what they differ by counts as distance: some hundredths for spectra that are equal.
    """

    steps: int = 10
    probes: int = 3
    dense: int = 24
    statement: ClassVar[str] = "JS(spectrum of H_aa, spectrum of H_bb) <= kappa for tensors a and b"
    symmetry: ClassVar[str] = "layer rotation"
    source: ClassVar[str] = "arXiv:2402.16788"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "Of a Haar-rotated Hessian, blocks of equal size have equal spectra: near 0."
    refuted: ClassVar[str] = (
        "Architectures in which it is large gain nothing by Adam over SGD, or those in which it is small do."
    )
    means: ClassVar[str] = (
        "Where spectra differ in size, a rate for each tensor helps; in shape too, perhaps one for each coordinate."
    )

    def __post_init__(self) -> None:
        """Refuse too few."""
        for name, least in (("steps", 1), ("probes", 2), ("dense", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"BlockSpectra: {name} = {getattr(self, name)} must be at least {least}.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp a tensor": max(self.dense, self.steps * self.probes)}

    def __call__(self, p: Point) -> dict[str, float]:
        """`block_spectra` and `block_spectra/size` with their errors; NaN where there is one tensor only."""
        found = [self._spectra(p.only([name])) for name in p.w]
        nodes, weights = [x for x, _ in found], [w for _, w in found]
        out = _told(nodes, weights)
        starts = range(max(map(len, nodes)))
        if len(starts) < 2:
            return {**out, "block_spectra_error": 0.0, "block_spectra_error/size": 0.0}
        # Exact blocks have one row, which stays where a start of the others is left out.
        left = [_told([_without(x, i) for x in nodes], [_without(x, i) for x in weights]) for i in starts]
        for key in ("", "/size"):
            without = torch.tensor([told[f"block_spectra{key}"] for told in left], dtype=torch.float64)
            out[f"block_spectra_error{key}"] = float(jackknife_error(without))
        return out

    def _spectra(self, p: Point) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues and what they weigh, `[starts, k]`."""
        a = hessian(p)
        if a.size > self.dense:
            found = density(a, self.steps, self.probes, p.rng("block spectra"))
            return found.nodes.numpy(), found.weights.numpy()
        rows = torch.stack([a @ e for e in torch.eye(a.size).to(a.like)]).double().cpu()
        if not bool(rows.isfinite().all()):
            return np.full((1, a.size), math.nan), np.full((1, a.size), math.nan)
        return torch.linalg.eigvalsh((rows + rows.T) / 2).numpy()[None], np.full((1, a.size), 1 / a.size)

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the eigenvalues of the blocks."""
        sizes = [x.numel() for x in tree.like(h.diag(), p.w).values()]
        ends = np.cumsum([0, *sizes])
        blocks = [torch.linalg.eigvalsh(h[i:j, i:j]).numpy()[None] for i, j in itertools.pairwise(ends)]
        return _told(blocks, [np.full(x.shape, 1 / x.size) for x in blocks])


def _without(x: np.ndarray, i: int) -> np.ndarray:
    return x if len(x) == 1 else np.delete(x, i, 0)


def _told(nodes: list[np.ndarray], weights: list[np.ndarray]) -> dict[str, float]:
    """Distance of shapes and spread of sizes, from eigenvalues and weights by block; blocks of zeros have neither."""
    if len(nodes) < 2 or not all(np.isfinite(x).all() for x in (*nodes, *weights)):
        return {"block_spectra": math.nan, "block_spectra/size": math.nan}
    sizes = [math.sqrt((w * x**2).sum() / w.sum()) for x, w in zip(nodes, weights, strict=True)]
    kept = [i for i, size in enumerate(sizes) if size > 0]
    if len(kept) < 2:
        return {"block_spectra": 0.0, "block_spectra/size": 0.0}
    shapes = _distance([nodes[i] / sizes[i] for i in kept], [weights[i] for i in kept])
    return {"block_spectra": shapes, "block_spectra/size": float(np.std([math.log10(sizes[i]) for i in kept]))}


def _distance(nodes: list[np.ndarray], weights: list[np.ndarray]) -> float:
    """The mean Jensen-Shannon distance over pairs of blocks, on a grid of the common axis."""
    places = [np.arcsinh(x / FLOOR).ravel() for x in nodes]
    low, high = min(x.min() for x in places) - 4 * WIDTH, max(x.max() for x in places) + 4 * WIDTH
    grid, densities = np.linspace(low, high, GRID), []
    for x, w in zip(places, weights, strict=True):
        each = np.exp(-((grid[:, None] - x[None]) ** 2) / (2 * WIDTH**2)) @ w.ravel()
        densities.append(each / each.sum())
    pairs = [_divergence(a, b) for a, b in itertools.combinations(densities, 2)]
    return float(np.mean(np.sqrt(np.maximum(pairs, 0.0) / math.log(2))))


def _divergence(a: np.ndarray, b: np.ndarray) -> float:
    middle = (a + b) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(x > 0, x * np.log(x / middle), 0.0).sum() for x in (a, b)]
    return float(sum(parts)) / 2
