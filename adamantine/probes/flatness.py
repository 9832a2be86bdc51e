"""How flat an optimizer's second moment is within blocks, beside what a random rotation of the blocks would make it.

In coordinates rotated at random (Haar) within a block of `d` coordinates whose gradients have the second moment
`C = E[g g']`, the diagonal `v` has the expected relative variance `(2 d / r - 2) / (d + 2)`, about `2 / r`, with the
effective rank `r = (tr C)^2 / |C|_F^2`: the larger the rank, the more Adam acts as if `v` were one number for the
block. The method of rotating coordinates is that of Maes, Zhang et al. (arXiv:2410.19964).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.tree import Params, flat, norm

LEAST = 8  # coordinates below which a block says nothing of its spread
SEEN = 0.02  # gradients whose weight in the average has fallen below this are forgotten


@dataclass(frozen=True)
class MomentFlatness:
    """`variance`: that of the second moment `v` over its squared mean, averaged over blocks by size.

    `predicted_variance`: what it would be under a random rotation of each block, from the gradients at the points
    measured so far, weighted as an exponential average with coefficient `beta` weighs them. `path` leads to `v` in
    the optimizer's state; `scope` is "all", "layer", "row" or "column". The mean over pairs of *different* gradients
    estimates `|C|_F^2` up to the share of equal pairs, which is known; being a ratio, the prediction is some per cent
    too low where only a handful of measured gradients lie within the average's memory. `clip` is the norm to which
    the optimizer clips its gradients, if it does. Raises ValueError where `path` leads to anything but tensors.
    """

    path: tuple[int, ...] = (1, 1)
    scope: str = "all"
    beta: float = 0.999
    clip: float | None = None

    units: ClassVar[dict[str, str]] = {
        "variance": "variance of the second moment over its squared mean, within blocks",
        "predicted_variance": "the same after a random rotation of each block",
    }
    caveat: ClassVar[str] = "The prediction is some per cent low where few measured gradients fit the average's memory."
    cost: ClassVar[dict[str, int]] = {"grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """Both variances; the prediction is NaN before the fourth measured point."""
        v: Any = p.s
        for i in self.path:
            v = v[i] if isinstance(v, tuple) and i < len(v) else None
        if not isinstance(v, dict) or {k: x.shape for k, x in v.items()} != {k: x.shape for k, x in p.w.items()}:
            raise ValueError(
                f"MomentFlatness: path {self.path} does not lead to a tensor a parameter in this optimizer's state; "
                "count the parts of the chain from 0, as (1, 1) for Ema() >> Rms() >> ..."
            )
        scale = 1.0 if self.clip is None else min(1.0, self.clip / (float(norm(p.grad)) + 1e-6))
        past = [*p.notes.get(self._note, ()), (p.step, {k: x * scale for k, x in p.grad.items()})]
        past = [(t, g) for t, g in past if self.beta ** (p.step - t) > SEEN]
        p.notes[self._note] = past
        measured, sizes = zip(*[_spread(b) for b in self._blocks(v)], strict=True)
        out = {"variance": _mean(torch.cat(measured), torch.cat(sizes)), "predicted_variance": float("nan")}
        if len(past) > 3:
            weights = torch.tensor([self.beta ** (p.step - t) for t, _ in past], dtype=torch.float64)
            # The share of equal pairs in the average over all steps, measured or not.
            share = (
                (1 - self.beta) / (1 + self.beta) * (1 + self.beta ** (p.step + 1)) / (1 - self.beta ** (p.step + 1))
            )
            stacked = zip(*[self._blocks(g) for _, g in past], strict=True)
            found = [_predicted(torch.stack(g).double(), weights / weights.sum(), share) for g in stacked]
            out["predicted_variance"] = _mean(torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found]))
        return out

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The variance in one block, all coordinates; the prediction has no closed form at a single point."""
        v: Any = p.s
        for i in self.path:
            v = v[i]
        x = flat(v).double()
        return {"variance": float(len(x) * x.square().sum() / x.sum() ** 2) - 1}

    @property
    def _note(self) -> str:
        return f"gradients of {self!r}"

    def _blocks(self, a: Params) -> list[Tensor]:
        """Matrices whose rows are blocks."""
        if self.scope == "all":
            return [torch.cat([x.reshape(-1) for x in a.values()])[None]]
        whole = self.scope == "layer"
        out = [x.reshape(1, -1) if whole or x.ndim < 2 else x.flatten(1) for x in a.values()]
        return [b.T if self.scope == "column" and len(b) > 1 else b for b in out]


def _spread(v: Tensor) -> tuple[Tensor, Tensor]:
    """Relative variance of each row of `v`, and its weight."""
    v = v.double()
    mean = v.mean(1)
    return v.var(1, correction=0) / mean.square().clamp_min(1e-300), _weight(v, mean)


def _predicted(g: Tensor, weights: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The Haar prediction for each block of the gradients `g`, `[K, blocks, d]`, and its weight."""
    d = g.shape[2]
    inner = torch.einsum("kbd,lbd->bkl", g, g)
    weights = weights.to(inner)
    trace = inner.diagonal(dim1=1, dim2=2) @ weights
    pairs = torch.outer(weights, weights).fill_diagonal_(0)
    equal = inner.diagonal(dim1=1, dim2=2).square() @ weights
    other = (inner.square() * pairs).sum((1, 2)) / pairs.sum()
    norm = share * equal + (1 - share) * other
    relative = norm / trace.square().clamp_min(1e-300)
    return (2 * d * relative - 2) / (d + 2), _weight(g[0], trace)


def _weight(like: Tensor, mean: Tensor) -> Tensor:
    d = like.shape[1]
    return torch.where(mean > 0, float(d) if d >= LEAST else 0.0, 0.0).double()


def _mean(x: Tensor, weight: Tensor) -> float:
    total = weight.sum()
    return float((x * weight).sum() / total) if total > 0 else float("nan")
