"""Coordinate-wise (L0, L1)-smoothness: each partial derivative moves as far as its own size allows."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.known import update


@dataclass(frozen=True)
class CoordinateSmoothness:
    """How fast each partial derivative changes along the update `u`, `r_j = |(H u)_j| / |u|`, against its own size
    `|g_j|`.

    `coordinate_l0` is `sqrt(d) max_j r_j`, the least constant `L0` where `L1 = 0`; `coordinate_l1` the quantile `q`
    over coordinates of `r_j / |g_j|`, the `L1` that serves this share of them where `L0 = 0`. `coordinate_agreement` is
    the rank correlation of `r_j` and `|g_j|`: the assumption says that it is large. From one batch; one Hessian-vector
    product. NaN for an update of zero. Raises ValueError where the point knows no update.
    """

    q: float = 0.9
    statement: ClassVar[str] = "|d_j f(y) - d_j f(x)| <= (L0_j / sqrt(d) + L1_j |d_j f(x)|) |y - x|_2"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:2208.11195"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = (
        "Where curvature and gradient have nothing to do with each other the agreement is 0, with a deviation "
        "of 1 / sqrt(d)."
    )
    refuted: ClassVar[str] = "The agreement is no larger than that of coordinates paired at random."
    means: ClassVar[str] = (
        "Methods that divide each coordinate by its own size, as sign descent and Adam do, need no clipping."
    )
    cost: ClassVar[dict[str, int]] = {"hvp": 1, "grad": 1}

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 < self.q <= 1:
            raise ValueError(f"CoordinateSmoothness: q = {self.q} must be above 0 and at most 1.")

    def __call__(self, p: Point) -> dict[str, float]:
        """`coordinate_l0`, `coordinate_l1` and `coordinate_agreement`."""
        u = update(p, "CoordinateSmoothness")
        return self._numbers(tree.flat(p.hvp(u)).abs(), tree.flat(p.grad).abs(), float(tree.norm(u)))

    def _numbers(self, moved: Tensor, g: Tensor, length: float) -> dict[str, float]:
        names = ("coordinate_l0", "coordinate_l1", "coordinate_agreement")
        r = moved.double() / (length or torch.nan)
        if not bool(r.isfinite().all() & g.isfinite().all()):
            return dict.fromkeys(names, torch.nan)
        ratio = (r / g).nan_to_num(0.0)  # a coordinate that neither moves nor has a slope is served by any constant
        served = ratio.sort().values[min(len(r) - 1, int(self.q * len(r)))]  # torch.quantile refuses long vectors
        ranks = torch.stack([x.argsort().argsort().double() for x in (r, g)])
        agreement = torch.corrcoef(ranks)[0, 1] if len(r) > 1 else torch.tensor(torch.nan)
        return dict(zip(names, (len(r) ** 0.5 * float(r.max()), float(served), float(agreement)), strict=True))

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        u = tree.flat(p.u or {})
        return self._numbers((h @ u).abs(), tree.flat(p.grad).abs(), float(u.norm()))
