"""How far a batch's gradient stands out of its noise, tensor by tensor: `|G|^2 / (tr Sigma / B)` (arXiv:2001.07384)."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine.point import Point
from adamantine.probes.gradient_sample import Sample, moments, sample


@dataclass(frozen=True)
class SignalToNoise:
    """`|G|^2 / (tr Sigma / B)` at the batch size `B`, of the whole gradient and of every tensor's.

    The share of a batch's squared gradient that is signal is `r / (1 + r)`; above 1 a larger batch gains little. A
    ratio of estimates without bias of `|G|^2` and of `tr Sigma`, from per-example norms, as `NoiseScale` has them, and
    from the same pass. It may be negative where the signal is lost in the noise, and is infinite where there is no
    noise, or NaN where there is no signal either. Where the loss does not split by example: from the pieces of the
    batch, or from `batches` batches, the point's own and others drawn independently; from a few of which, and in
    tensors with few coordinates, the ratio comes out too large, since the mean of `1 / x` exceeds `1 / mean x`.

    The errors are upper bounds of one standard error, estimated, as those of `NoiseScale`. NaN for less than two
    examples. Raises ValueError where the loss does not split, the batch is in one piece, and the task draws no other.
    """

    batches: int = 4

    units: ClassVar[dict[str, str]] = {
        "signal_to_noise": "|G|^2 / (tr Sigma / B) at the batch size B; ratio of squares"
    }
    bound: ClassVar[str] = "unbiased"
    caveat: ClassVar[str] = (
        "It is proportional to the batch size, and a ratio of sums over coordinates: a tensor with a few coordinates "
        "of pure signal among many of noise looks like noise."
    )

    def __post_init__(self) -> None:
        """Refuse less than two batches."""
        if self.batches < 2:
            raise ValueError(f"SignalToNoise: batches = {self.batches} must be at least 2, to differ from one another.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls: the norms, or else the gradients and the sizes of the batches."""
        return {"each_norm": 1, "grad": self.batches, "loss": self.batches}

    def __call__(self, p: Point) -> dict[str, float]:
        """`signal_to_noise` and `signal_to_noise/tensor`, each with its error."""
        s = sample(p, self.batches)
        whole, tensors = _ratios(s.whole()), _ratios(s)
        out = {"signal_to_noise": whole[0][0], "signal_to_noise_error": whole[0][1]}
        for k, (value, error) in zip(s.names, tensors, strict=True):
            out |= {f"signal_to_noise/{k}": value, f"signal_to_noise_error/{k}": error}
        return out

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """Nothing: where the examples add no noise it is infinite, up to rounding."""
        return {}


def _ratios(s: Sample) -> list[tuple[float, float]]:
    found, out = moments(s), []
    for v, g, of_v, of_g in zip(*(x.tolist() for x in found), strict=True):
        if v > 0 and math.isfinite(g):
            ratio = s.batch * g / v
            # Both errors may come from the same examples: the worst case is that they add up.
            out.append((ratio, (s.batch * of_g + abs(ratio) * of_v) / v))
        else:
            out.append((math.inf if v <= 0 < g else math.nan, math.nan))
    return out
