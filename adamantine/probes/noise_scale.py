"""How many examples it takes for the gradient to stand out of its noise: `tr Sigma / |G|^2` (arXiv:1812.06162)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.gradient_sample import Sample, moments, sample


@dataclass(frozen=True)
class NoiseScale:
    """`tr Sigma / |G|^2` of the mean `G` and the covariance `Sigma` of the gradients of single examples.

    From per-example norms; where the loss does not split by example, from the pieces of the batch or from `batches`
    batches, the point's own and others drawn independently. `gradient_variance` (`tr Sigma`) and `gradient_square`
    (`|G|^2`) are without bias and of this point alone. `noise_scale` is the ratio of their averages, in which what was
    measured before counts `memory` times as much (0: not at all), since an average of ratios is biased. Where the
    averaged `|G|^2` is not positive the noise scale is beyond what these data can tell, and is infinite.

    The errors are upper bounds of one standard error, estimated: norms do not tell how the noise lies, and it is taken
    to lie along the gradient. With `jackknife`, at the price of one `each_dot`, they are those of the jackknife over
    examples, where the loss splits. NaN for less than two examples.
    Raises ValueError where the loss does not split, the batch is in one piece, and the task draws no other.
    """

    memory: float = 0.0
    jackknife: bool = False
    batches: int = 4

    units: ClassVar[dict[str, str]] = {
        "noise_scale": "tr Sigma / |G|^2 of single gradients; examples",
        "gradient_variance": "tr Sigma, variance of a single example's gradient; (loss / weight)^2",
        "gradient_square": "|G|^2 of the expected gradient; (loss / weight)^2",
    }
    bound: ClassVar[str] = "unbiased"
    caveat: ClassVar[str] = (
        "It is the largest useful batch size only where the curvature is the same in all directions and the optimizer "
        "is plain gradient descent, and often off by several times; from one small batch |G|^2 may not be detectable."
    )

    def __post_init__(self) -> None:
        """Refuse a memory that does not fade and less than two batches."""
        if not 0 <= self.memory < 1:
            raise ValueError(f"NoiseScale: memory = {self.memory} must be at least 0 and less than 1.")
        if self.batches < 2:
            raise ValueError(f"NoiseScale: batches = {self.batches} must be at least 2, to differ from one another.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls: the norms, or else the gradients and the sizes of the batches."""
        dots = {"each_dot": 1} if self.jackknife else {}
        return {"each_norm": 1, **dots, "grad": self.batches, "loss": self.batches}

    def __call__(self, p: Point) -> dict[str, float]:
        """`noise_scale`, `gradient_variance`, `gradient_square` and their errors."""
        s = sample(p, self.batches).whole()
        found = moments(s)
        variance, square = float(found.variance), float(found.square)
        of_variance, of_square = float(found.variance_error), float(found.square_error)
        together = -of_variance * of_square  # the worst that their covariance can be
        if self.jackknife and s.batch == len(s.sizes) > 2:  # they are the examples of the batch
            dots = p.each_dot(p.grad).detach().cpu().double()
            of_variance, of_square, together = _jackknife(s, dots)
        now = torch.tensor([variance, square, of_variance**2, of_square**2, together], dtype=torch.float64)
        return {
            **self._ratio(p, now),
            "gradient_variance": variance,
            "gradient_variance_error": of_variance,
            "gradient_square": square,
            "gradient_square_error": of_square,
        }

    def _ratio(self, p: Point, now: Tensor) -> dict[str, float]:
        """Of the averages, with the error of a ratio to first order; errors of different steps are independent."""
        key = f"{self!r}"
        before = p.notes.get(key)
        if self.memory and before is not None:
            fade = torch.tensor([self.memory] * 2 + [self.memory**2] * 3, dtype=torch.float64)
            now = now + fade * before if bool(now.isfinite().all()) else before
        if self.memory and bool(now.isfinite().all()):
            p.notes[key] = now
        above, below, vv, ss, vs = now.tolist()
        if not math.isfinite(above + below) or (below <= 0 and above <= 0):
            return {"noise_scale": math.nan, "noise_scale_error": math.nan}
        if below <= 0:
            return {"noise_scale": math.inf, "noise_scale_error": math.nan}
        ratio = above / below
        error = max(vv - 2 * ratio * vs + ratio**2 * ss, 0.0) ** 0.5 / below
        return {"noise_scale": ratio, "noise_scale_error": error}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """`|H w|^2`, where the examples add no noise."""
        return {"gradient_square": float((h @ tree.flat(p.w)).square().sum())}


def _jackknife(s: Sample, dots: Tensor) -> tuple[float, float, float]:
    """Standard errors of `tr Sigma` and `|G|^2`, and their covariance, from leaving out each of the examples.

    `dots` are the inner products of the examples' gradients with their mean.
    """
    n, q = len(s.sizes), s.squares[0]
    mean = (n * n * s.mean - 2 * n * dots + q) / (n - 1) ** 2
    variance = (q.sum() - q - (n - 1) * mean) / (n - 2)
    both = torch.stack([variance, mean - variance / (n - 1)])
    spread = torch.cov(both, correction=0) * (n - 1)
    return float(spread[0, 0].sqrt()), float(spread[1, 1].sqrt()), float(spread[0, 1])
