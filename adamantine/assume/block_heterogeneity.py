"""Block heterogeneity: tensors whose mean curvature differs, which one rate cannot serve."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.solvers.estimate import jackknife_error
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class BlockHeterogeneity:
    """`(sum_b T_b^2 / d_b - T^2 / d) / |H|_F^2` with the traces `T_b` of the tensors' blocks and `T` of the whole.

    The share of the squared Hessian that the differences between the mean curvatures `T_b / d_b` of tensors account
    for: 0 where all are equal. From `probes` products with random signs: squares of traces from pairs of different
    probes, so that all terms are without bias; the error is the jackknife's. `block_heterogeneity/tensor` is the mean
    curvature of a tensor, with its standard error.
    """

    probes: int = 16
    statement: ClassVar[str] = "(sum_b T_b^2 / d_b - T^2 / d) <= kappa |H|_F^2, kappa = 0 for equal blocks"
    symmetry: ClassVar[str] = "layer rotation"
    source: ClassVar[str] = "arXiv:2402.16788"
    bound: ClassVar[str] = "unbiased"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "Of a Haar-rotated Hessian: 0, up to 1 / d."
    refuted: ClassVar[str] = (
        "Architectures in which it is large gain nothing by Adam over SGD, or those in which it is small do."
    )
    means: ClassVar[str] = (
        "Large values ask for a rate for each tensor: they favour Adam, and methods with one second moment a tensor."
    )

    def __post_init__(self) -> None:
        """Refuse too few."""
        if self.probes < 4:
            raise ValueError(f"BlockHeterogeneity: probes = {self.probes} must be at least 4, or there is no error.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.probes}

    def __call__(self, p: Point) -> dict[str, float]:
        """`block_heterogeneity` and its error; the mean curvature of every tensor where there is more than one."""
        a, rng, draws, squares = hessian(p), p.rng("heterogeneity"), [], []
        for _ in range(self.probes):
            z = a.signs(rng)
            image = a @ z
            draws.append([float(x.sum()) for x in tree.like(z * image, p.w).values()])
            squares.append(float(image.double().square().sum()))
        sizes = torch.tensor([x.numel() for x in p.w.values()], dtype=torch.float64)
        t, f, n = torch.tensor(draws, dtype=torch.float64), torch.tensor(squares, dtype=torch.float64), self.probes
        total, pairs = t.sum(0), t.square().sum(0)
        value = _ratio(total, pairs, t.sum(1).square().sum(), f.sum(), n, sizes)
        less = [
            _ratio(total - x, pairs - x.square(), t.sum(1).square().sum() - x.sum().square(), f.sum() - y, n - 1, sizes)
            for x, y in zip(t, f, strict=True)
        ]
        error = float(jackknife_error(torch.stack(less)))
        out = {"block_heterogeneity": float(value), "block_heterogeneity_error": error}
        if len(p.w) > 1:
            for i, k in enumerate(p.w):
                spread = float((t[:, i] / sizes[i]).std()) / n**0.5
                out |= {
                    f"block_heterogeneity/{k}": float(total[i] / n / sizes[i]),
                    f"block_heterogeneity_error/{k}": spread,
                }
        return out

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        parts = [(float(x.sum()), x.numel()) for x in tree.like(h.diag(), p.w).values()]
        between = sum(t * t / d for t, d in parts) - sum(t for t, _ in parts) ** 2 / len(h)
        return {"block_heterogeneity": between / float(h.square().sum())}


def _ratio(total: Tensor, squares: Tensor, whole: Tensor, energy: Tensor, n: int, sizes: Tensor) -> Tensor:
    """From sums over `n` draws: of traces by tensor, their squares, the squared whole trace, and `|H z|^2`."""
    inside = ((total.square() - squares) / sizes).sum()
    mean = (total.sum().square() - whole) / sizes.sum()
    return (inside - mean) / (n * (n - 1)) / (energy / n)
