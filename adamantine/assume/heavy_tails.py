"""Heavy tails: whether the gradient noise has a variance, or only a lower moment."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point


@dataclass(frozen=True)
class HeavyTails:
    """Hill's estimate of the tail index `alpha` of `|g_b - g|` over the examples `b`, from the largest `share` of them.

    `1 / alpha` is the mean of `log(x_i / x_(k+1))` over the `k` largest; `P(x > t) ~ t^-alpha`, so that moments below
    `alpha` are finite. `tail_index_error` is `alpha / sqrt(k)`. Unlike estimators that assume stable laws, which
    call a mixture of Gaussians of different scales heavy-tailed, it looks at the largest values only; even so it is
    finite for every batch, and only values that stay below 2 as batches grow speak against a variance. Costs one round
    of inner products of gradients. NaN for less than six examples. Raises ValueError where the loss does not split by
    example.
    """

    share: float = 0.1
    statement: ClassVar[str] = "E |g - grad f|^alpha <= sigma^alpha with alpha < 2 only"
    symmetry: ClassVar[str] = "rotation"
    source: ClassVar[str] = "Hill (1975); arXiv:1901.06053, arXiv:1912.03194"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = (
        "Normal noise with the covariance that the examples' gradients have: an index that grows with their number."
    )
    refuted: ClassVar[str] = (
        "The index lies above 2, or the gap between Adam and SGD remains where noise is taken away."
    )
    means: ClassVar[str] = (
        "Below 2, clipping or normalizing is needed for SGD to converge; above, noise asks for nothing of the kind."
    )
    cost: ClassVar[dict[str, int]] = {"each_gram": 1}

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 < self.share < 0.5:
            raise ValueError(f"HeavyTails: share = {self.share} must lie between 0 and 0.5.")

    def __call__(self, p: Point) -> dict[str, float]:
        """`tail_index` and its error."""
        gram = p.each_gram().double().cpu()
        square = gram.diag() - 2 * gram.mean(1) + gram.mean()
        return self._numbers(square.clamp_min(0).sqrt())

    def _numbers(self, x: Tensor) -> dict[str, float]:
        k = max(2, math.ceil(self.share * len(x)))
        if len(x) < 6 or not bool(x.isfinite().all()):
            return {"tail_index": math.nan, "tail_index_error": math.nan}
        top = x.sort(descending=True).values
        mean = float((top[:k] / top[k]).log().mean())
        alpha = 1 / mean if mean > 0 else math.nan
        return {"tail_index": alpha, "tail_index_error": alpha / math.sqrt(k)}

    def under_null(self, p: Point) -> dict[str, float]:
        """The mean over eight draws of as many normal vectors, mixed from the examples' own deviations."""
        gram = p.each_gram().double().cpu()
        inner = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
        n, rng = len(gram), p.rng("normal noise")
        normal = torch.randn(8 * n, n, generator=rng, dtype=torch.float64)
        lengths = ((normal @ inner) * normal).sum(1).div(n).clamp_min(0).sqrt()
        found = [self._numbers(x)["tail_index"] for x in lengths.view(8, n)]
        return {"tail_index": sum(found) / len(found)}

    def on_examples(self, p: Point, g: Tensor) -> dict[str, float]:
        """From the gradients of all examples, `[B, d]`."""
        return {"tail_index": self._numbers((g - g.mean(0)).norm(dim=1))["tail_index"]}
