"""How large the update is beside the weights, and by which angle it turns them (rotational equilibrium: Kosson et al.,
arXiv:2305.17212).
"""

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.known import update
from adamantine.tree import Params


@dataclass(frozen=True)
class UpdateRatio:
    """`|u| / |w|` and the angle between `w` and `w - u` in radians, of every tensor and of all as one vector.

    For each tensor two norms and an inner product, and then one transfer of them all: nothing beyond the step. Weights
    of zero have neither: NaN. Raises ValueError where the point knows no update.

    Where a tensor's scale does not change the loss and the decay `lambda` is that of `w <- (1 - rate lambda) w`, the
    angle settles: at `sqrt(2 rate lambda)` for gradient descent; at that times `sqrt((1 - beta) / (1 + beta))` for
    momentum and for AdamW; at that over `sqrt(1 + beta)` for momentum where the decay is added to the gradient.
    """

    units: ClassVar[dict[str, str]] = {
        "update_ratio": "|u| / |w|; no unit",
        "angle": "between w and w - u; radians",
    }
    cost: ClassVar[dict[str, int]] = {}
    caveat: ClassVar[str] = (
        "Of one step: over many, angles of steps that agree add up and those of noise cancel. Tensors that start at "
        "zero (biases) show large ratios for long, and the angle tells of the function only where the scale does not."
    )

    def __call__(self, p: Point) -> dict[str, float]:
        """`update_ratio` and `angle`, and both for every tensor."""
        u = update(p, "UpdateRatio")
        parts = _norms_and_products(p.w, {k: u[k] for k in p.w})
        ratio, angle = _ratio_and_angle(*parts).tolist()
        names = ["", *(f"/{k}" for k in p.w)]
        found = {f"update_ratio{k}": x for k, x in zip(names, ratio, strict=True)}
        return found | {f"angle{k}": x for k, x in zip(names, angle, strict=True)}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """Both of all tensors, by the cosine."""
        w, u = tree.flat(p.w), tree.flat(p.u or {})
        cosine = w @ (w - u) / (w.norm() * (w - u).norm())
        return {"update_ratio": float(u.norm() / w.norm()), "angle": float(cosine.arccos())}


def _norms_and_products(w: Params, u: Params) -> tuple[Tensor, Tensor, Tensor]:
    """`|w|`, `|u|` and `<w, u>` on the host: first of all tensors together, then of each."""
    a, b = [*w.values()], [*u.values()]
    # Half-precision norms would be rounded to three digits, or overflow.
    dtype = reduce(torch.promote_types, (x.dtype for x in a + b), torch.float32)
    norms = torch._foreach_norm(a + b, 2, dtype)  # pyright: ignore[reportPrivateImportUsage]
    dots = [torch.vdot(x.to(dtype).reshape(-1), y.to(dtype).reshape(-1)) for x, y in zip(a, b, strict=True)]
    found = torch.stack([*norms, *dots]).cpu().double().view(3, -1)
    whole = torch.stack([found[0].norm(), found[1].norm(), found[2].sum()])
    size, step, inner = torch.cat([whole[:, None], found], 1)
    return size, step, inner


def _ratio_and_angle(size: Tensor, step: Tensor, inner: Tensor) -> Tensor:
    """`[2, ...]`: through the components of `u` along `w` and across it, as small angles have a cosine of 1."""
    size = torch.where(size > 0, size, torch.nan)
    along = inner / size
    across = (step.square() - along.square()).clamp_min(0).sqrt()
    return torch.stack([step / size, torch.atan2(across, size - along)])
