"""How differently the optimizer's second moment scales the coordinates (Maes, Zhang et al., arXiv:2410.19964)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.live import SECOND
from adamantine.point import Point
from adamantine.probes.known import optimizer
from adamantine.tree import Params

NAMES: tuple[str, ...] = ("moment_spread", "moment_rank", "moment_zeros")


@dataclass(frozen=True)
class MomentSpread:
    """Spread of the second moment `v` over the coordinates it is kept in: of each tensor, and of all as one vector.

    `moment_spread` is the standard deviation of `log10 v` over the coordinates where it is above zero, in decades:
    zero where one number would do for all; `sqrt(v)`, which divides the step, spreads by half of it. `moment_rank` is
    `(sum v)^2 / sum v^2`, the number of coordinates that share the moment, at least the effective rank
    `(tr C)^2 / |C|_F^2` of the moment matrix `C = E[g g']`, whose diagonal `v` estimates. `moment_zeros` is the share
    of coordinates where `v` is not above zero: those that no gradient has reached.

    Tensors without a second moment take no part. Raises ValueError where the optimizer holds none.
    """

    units: ClassVar[dict[str, str]] = {
        "moment_spread": "standard deviation of log10 of the second moment; decades",
        "moment_rank": "(sum v)^2 / sum v^2; coordinates",
        "moment_zeros": "share of coordinates without a second moment",
    }
    cost: ClassVar[dict[str, int]] = {}
    caveat: ClassVar[str] = (
        "Of gradients and their noise together: small batches and short averages change it, and so do coordinates that "
        "few examples reach. An optimizer with a basis of its own is measured in that basis, and one that shares "
        "moments shows the spread between those that share."
    )

    def __call__(self, p: Point) -> dict[str, float]:
        """All of `units`, of all and for every tensor."""
        v = _second_moment(p)
        sums = torch.stack([_sums(x) for x in v.values()]).cpu()  # one transfer of all
        found = _numbers(torch.cat([_together(sums)[None], sums])).tolist()
        out: dict[str, float] = {}
        for k, row in zip(["", *(f"/{k}" for k in v)], found, strict=True):
            out |= {f"{name}{k}": x for name, x in zip(NAMES, row, strict=True)}
        return out

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The same of one vector, whatever the Hessian."""
        v = torch.cat([x.reshape(-1) for x in _second_moment(p).values()]).double()
        numbers = v[v > 0].log10().std(correction=0), v.sum() ** 2 / v.square().sum(), (v <= 0).double().mean()
        return dict(zip(NAMES, map(float, numbers), strict=True))


def _second_moment(p: Point) -> Params:
    found: Params = {}
    for m in optimizer(p, "MomentSpread").moments(p.s, p.w):
        if m.kind == SECOND:
            found = {**m.value, **found}
    if not any(k in found for k in p.w):
        raise ValueError(
            "MomentSpread: the optimizer holds no second moment, which it measures; use one that does, after its first "
            "step, or leave the probe out."
        )
    return {k: found[k] for k in p.w if k in found}


def _sums(v: Tensor) -> Tensor:
    """How many, how many above zero, sum and squared deviations of their logarithms, sum and sum of squares."""
    v = v.to(torch.promote_types(v.dtype, torch.float32)).clamp_min(0)
    above = torch.where(v.isnan(), v, (v > 0).to(v.dtype))
    logs = torch.where(v > 0, v, 1).log10()
    count, total = above.sum(dtype=torch.float64), logs.sum(dtype=torch.float64)
    off = torch.where(v > 0, logs - total / count, 0)
    size = torch.full_like(count, v.numel())
    square = torch.linalg.vector_norm(v, dtype=torch.float64).square()
    off = torch.linalg.vector_norm(off, dtype=torch.float64).square()
    return torch.stack([size, count, total, off, v.sum(dtype=torch.float64), square])


def _together(sums: Tensor) -> Tensor:
    """The sums of all tensors as one vector, with the deviations from their common mean."""
    count, total = sums[:, 1], sums[:, 2]
    apart = total / count - total.sum() / count.sum()
    whole = sums.sum(0)
    whole[3] += torch.where(count == 0, 0, count * apart.square()).sum()
    return whole


def _numbers(sums: Tensor) -> Tensor:
    size, count, _, off, total, square = sums.T
    return torch.stack([(off / count).sqrt(), total.square() / square, 1 - count / size], 1)
