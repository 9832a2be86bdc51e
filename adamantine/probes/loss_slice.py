"""How far the loss rises in random directions scaled to the weights: the slices of Li et al. (arXiv:1712.09913)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.probes.slices import filter_normalized, line, random_directions


@dataclass(frozen=True)
class LossSlice:
    """The mean rise of the loss at `w + t d` over random filter-normalized directions `d`, as `loss_slice/t`.

    Both `d` and `-d` are looked at, so that the slope cancels: to second order the rise is `t^2 / 2` times the sum over
    filters of `|w_f|^2 / n_f tr H_ff`, with `n_f` weights in the filter `f`. It is unbiased as a mean over directions,
    with its standard error (NaN for one direction). A `t` of 0.1 changes each filter by a tenth of its norm; vectors
    (biases, gains of norms) stand still. Forward passes only.
    """

    at: tuple[float, ...] = (0.05, 0.2, 0.5)
    directions: int = 4

    units: ClassVar[dict[str, str]] = {"loss_slice": "mean rise of the loss at t filter norms from the weights; loss"}
    caveat: ClassVar[str] = (
        "A random direction meets the average curvature, never the sharpest, and where a norm follows a layer the rise "
        "tells of its gains as well."
    )
    bound: ClassVar[str] = "unbiased"

    def __post_init__(self) -> None:
        """Refuse less than one direction, and places that are not apart from 0."""
        if self.directions < 1 or not self.at or min(self.at) <= 0:
            raise ValueError(
                f"LossSlice: directions = {self.directions} must be at least 1, and at = {self.at} positive."
            )

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"loss": 1 + 2 * len(self.at) * self.directions}

    def __call__(self, p: Point) -> dict[str, float]:
        """`loss_slice/t` and `loss_slice_error/t` for each `t` of `at`."""
        here, places = float(p.loss), [s * t for t in self.at for s in (1, -1)]
        drawn = random_directions(p.w, p.rng("loss slice"), self.directions)
        found = [list(line(p, filter_normalized(d, p.w), places)) for d in drawn]
        rise = torch.tensor(found, dtype=torch.float64).view(self.directions, -1, 2).mean(2) - here
        values, errors = rise.mean(0), torch.full((len(self.at),), math.nan)
        if self.directions > 1:
            errors = rise.std(0) / self.directions**0.5
        out = {}
        for t, x, error in zip(self.at, values.tolist(), errors.tolist(), strict=True):
            out |= {f"loss_slice/{t:g}": x, f"loss_slice_error/{t:g}": error}
        return out

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The second-order term, which is all."""
        total, start = 0.0, 0
        for x in p.w.values():
            n = x[0].numel() if x.ndim > 1 else x.numel()
            for row in x.reshape(-1, n) if x.ndim > 1 else ():
                trace = h.diagonal()[start : start + n].sum()
                total, start = total + float(row.square().sum() * trace) / n, start + n
            start += n if x.ndim < 2 else 0
        return {f"loss_slice/{t:g}": t * t * total / 2 for t in self.at}
