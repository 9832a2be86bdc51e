"""The class-imbalance mechanism: rows with a large gradient have a large curvature too."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.solvers.operator import Operator, hessian


@dataclass(frozen=True)
class RowCurvature:
    """The slope of the Hessian's trace over a row on the length of the row's gradient, over the rows of `names`.

    With heavy-tailed classes, gradient and curvature of a class are both proportional to its frequency once it is
    predicted: rare classes are flat and slow, unless each is scaled by itself. The trace of a row is the mean of `z' H
    z` over the row for `probes` random signs; the slope by least squares is linear in it, and so without bias, with the
    standard error between probes. `row_agreement` is the correlation of the logarithms over rows with both above zero,
    which noise in the traces lowers. A vector counts as one row. Raises ValueError where no tensor is called so.
    """

    names: str = "*"
    probes: int = 16
    statement: ClassVar[str] = "tr H_rr <= beta |g_r| over the rows r, with equality if frequency scales both"
    symmetry: ClassVar[str] = "row rotation"
    source: ClassVar[str] = "arXiv:2402.19449"
    bound: ClassVar[str] = "unbiased"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "Rows paired at random: a slope and an agreement of 0."
    refuted: ClassVar[str] = (
        "The slope is not detectable where classes are heavy-tailed, or as large where they are balanced."
    )
    means: ClassVar[str] = (
        "Gradient descent at one rate is slow on flat rows; dividing by the size of a row's gradient, as Adam "
        "does, is not."
    )

    def __post_init__(self) -> None:
        """Refuse too few."""
        if self.probes < 2:
            raise ValueError(f"RowCurvature: probes = {self.probes} must be at least 2, or there is no error.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.probes, "grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`row_curvature` and its error, and `row_agreement`."""
        q = p.only([self.names]) if self.names != "*" else p
        lengths = torch.cat([_rows(x).norm(dim=1) for x in q.grad.values()]).double().cpu()
        a, rng = hessian(q), q.rng("rows")
        draws = torch.stack([_traces(a, a.signs(rng), q) for _ in range(self.probes)])
        slopes = draws @ _weights(lengths)
        error = float(slopes.std()) / self.probes**0.5
        traces = draws.mean(0)
        both = (traces > 0) & (lengths > 0)
        logs = torch.stack([traces[both].log(), lengths[both].log()])
        agreement = float(torch.corrcoef(logs)[0, 1]) if int(both.sum()) > 2 else torch.nan
        return {"row_curvature": float(slopes.mean()), "row_curvature_error": error, "row_agreement": agreement}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        lengths = torch.cat([_rows(x).norm(dim=1) for x in p.grad.values()]).double()
        traces = torch.cat([_rows(x).sum(1) for x in tree.like(h.diag(), p.w).values()]).double()
        return {"row_curvature": float(traces @ _weights(lengths))}


def _rows(x: Tensor) -> Tensor:
    return x.flatten(1) if x.ndim > 1 else x.reshape(1, -1)


def _traces(a: Operator, z: Tensor, p: Point) -> Tensor:
    """One draw of the trace over every row."""
    parts = tree.like(z * (a @ z), p.w).values()
    return torch.cat([_rows(x).sum(1) for x in parts]).double().cpu()


def _weights(x: Tensor) -> Tensor:
    """What a least-squares slope on `x` multiplies the values by."""
    apart = x - x.mean()
    return apart / apart.square().sum()
