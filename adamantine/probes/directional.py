"""What the step that the optimizer takes meets: slope, curvature, and how far the loss falls.

Curvature along the step is the directional sharpness of Pan & Li (arXiv:2306.00204).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.known import refuse_few_batches, update
from adamantine.tree import Params

NAMES: tuple[str, ...] = ("directional_sharpness", "gain", "predicted_decrease", "actual_decrease")
UNITS = (
    "u' H u / |u|^2; loss / weight^2",
    "largest decrease of the quadratic model along the update; loss",
    "<g, u> - u' H u / 2; loss",
    "loss before the update minus loss after it; loss",
)


@dataclass(frozen=True)
class DirectionalSharpness:
    """Curvature and decrease along the update `u`, which takes the weights from `w` to `w - u`.

    `directional_sharpness` is `u' H u / |u|^2`; `gain`, the most that a step along `u` can lower the quadratic model,
    is `<g, u>^2 / (2 u' H u)`, reached by the step `<g, u> / (u' H u)` times `u`, and infinite where the curvature is
    not positive. `predicted_decrease` is the model's decrease at the update itself, `<g, u> - u' H u / 2`, and
    `actual_decrease` the loss's. In the first two an update of zero gives NaN.

    These come from the batch that made the update, which raises slope and curvature. With `fresh`, `fresh_...` are the
    same from `batches` independent batches, each with its standard error: without bias, but for the gain, whose ratio
    (slopes of different batches multiplied, so that noise adds nothing) is corrected to first order. Raises
    ValueError where the point knows no update, or, with `fresh`, the task no further batches.
    """

    fresh: bool = False
    batches: int = 4

    @property
    def units(self) -> dict[str, str]:
        """Of every name."""
        own = dict(zip(NAMES, UNITS, strict=True))
        return {**own, **{f"fresh_{k}": f"{x}, on independent batches" for k, x in own.items() if self.fresh}}

    @property
    def caveat(self) -> str:
        """When it misleads."""
        if self.fresh:
            return (
                "Only the numbers named fresh are those of the whole loss; rounding of the loss limits the decreases."
            )
        return "Curvature and update come from one batch, which raises both; rounding of the loss limits the decreases."

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        times = 1 + self.batches * self.fresh
        return {"grad": times, "hvp": times, "loss": times}

    def __post_init__(self) -> None:
        """Refuse too few batches for an error."""
        refuse_few_batches(self.batches, "DirectionalSharpness")

    def __call__(self, p: Point) -> dict[str, float]:
        """All of `units`, and the errors of those that are fresh."""
        u = update(p, "DirectionalSharpness")
        length = float(tree.norm(u))
        found = dict(zip(NAMES, _model(*_along(p, u, length), length), strict=True))
        if self.fresh:
            there = (_along(p.fresh(f"directional sharpness/{i}"), u, length) for i in range(self.batches))
            slopes, curvatures, actual = torch.tensor([*there], dtype=torch.float64).T
            predicted = slopes * length - curvatures * length**2 / 2
            gain = _gain(slopes, curvatures) if length else (math.nan, math.nan)
            pairs = (_mean(curvatures), gain, _mean(predicted), _mean(actual))
            for k, (value, error) in zip(NAMES, pairs, strict=True):
                found |= {f"fresh_{k}": value, f"fresh_{k}_error": error}
        return found

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The same from dense matrices."""
        u, g = tree.flat(p.u or {}), h @ tree.flat(p.w)
        slope, curvature = float(g @ u), float(u @ h @ u)
        gain, decrease = slope**2 / (2 * curvature) if curvature > 0 else math.inf, slope - curvature / 2
        return dict(zip(NAMES, (curvature / float(u @ u), gain, decrease, decrease), strict=True))


def _along(p: Point, u: Params, length: float) -> tuple[float, float, float]:
    """Slope and curvature along `u / length`, and the decrease from `w` to `w - u`, all on the batch of `p`."""
    if not length:
        return math.nan, math.nan, 0.0
    v = tree.each(lambda x: x / length, u)
    slope, curvature = float(tree.dot(p.grad, v)), float(tree.dot(v, p.hvp(v)))
    return slope, curvature, float(p.loss.double() - p.at(tree.add(p.w, u, -1.0)).loss.double())


def _model(slope: float, curvature: float, actual: float, length: float) -> tuple[float, float, float, float]:
    if not length:
        return math.nan, math.nan, 0.0, 0.0
    gain = math.inf if curvature <= 0 else slope**2 / (2 * curvature)
    return curvature, gain, slope * length - curvature * length**2 / 2, actual


def _mean(x: Tensor) -> tuple[float, float]:
    return float(x.mean()), float(x.std()) / len(x) ** 0.5


def _gain(slopes: Tensor, curvatures: Tensor) -> tuple[float, float]:
    """The gain with its first-order bias removed, and its standard error, by the delta method."""
    n, curvature, variance = len(slopes), float(curvatures.mean()), float(slopes.var())
    square = float(slopes.mean() ** 2) - variance / n  # of different batches, multiplied
    if curvature <= 0:
        return math.inf, math.nan
    # The variance of a mean of products of pairs, for Gaussian slopes.
    noise = 4 * max(square, 0.0) * variance / n + 2 * variance**2 / (n * (n + 1))
    other = float(curvatures.var()) / n
    both = 2 * float(slopes.mean()) * float(torch.stack([slopes, curvatures]).cov()[0, 1]) / n
    ratio = square / curvature
    bias = (ratio * other - both) / curvature**2
    error = max(noise - 2 * ratio * both + ratio**2 * other, 0.0) ** 0.5 / curvature
    return (ratio - bias) / 2, error / 2
