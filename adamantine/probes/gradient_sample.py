"""Squared norms of independent gradients and of their mean: what the strength of gradient noise is estimated from."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from adamantine import tree
from adamantine.pieces import pieces
from adamantine.point import Point
from adamantine.tree import Params


class Sample(NamedTuple):
    """`n` independent gradients, each a mean over `sizes` examples, and the mean over all examples; float64, CPU.

    `batch` is how many examples the point's own batch has.
    """

    names: tuple[str, ...]
    squares: Tensor  # [tensors, n]: squared norm of each gradient
    mean: Tensor  # [tensors]: squared norm of the mean
    sizes: Tensor  # [n]
    batch: float

    def whole(self) -> "Sample":
        """All tensors as one."""
        return Sample(("",), self.squares.sum(0, keepdim=True), self.mean.sum(0, keepdim=True), self.sizes, self.batch)


class Moments(NamedTuple):
    """Estimates, tensor by tensor, of `tr Sigma` and `|G|^2`, and bounds on their standard errors."""

    variance: Tensor
    square: Tensor
    variance_error: Tensor
    square_error: Tensor


def moments(s: Sample) -> Moments:
    """Of the distribution that the examples come from: their gradients' mean `G` and covariance `Sigma`.

    With sizes `m_i`, `M` in all, and the mean `g` of all: `tr Sigma = (sum_i m_i |g_i|^2 - M |g|^2) / (n - 1)` and
    `|G|^2 = |g|^2 - tr Sigma / M`, both without bias, so that both may be negative. (For single examples this is
    arXiv:1812.06162, appendix A.1, with batches of 1 and of `n`.) The errors depend on how `Sigma` lies, which norms do
    not tell; they are largest for a `Sigma` of rank one along `G`, to which the bounds belong. Means over batches are
    taken to be normal, single gradients are not. NaN for less than two gradients.
    """
    n, total = len(s.sizes), s.sizes.sum()
    if n < 2:
        nan = torch.full_like(s.mean, math.nan)
        return Moments(nan, nan, nan, nan)
    weighed = s.squares * s.sizes
    variance = (weighed.sum(1) - total * s.mean) / (n - 1)
    square = s.mean - variance / total
    noise, signal = variance.clamp(min=0) / total, square.clamp(min=0)
    of_mean = (4 * signal * noise + 2 * noise.square()).sqrt()
    of_square = (4 * signal * noise + 2 * noise.square() * n / (n - 1)).sqrt()
    if total > n:
        of_variance = variance.abs() * (2 / (n - 1)) ** 0.5
    else:
        of_variance = (n**0.5 * weighed.std(1) + total * of_mean) / (n - 1)
    return Moments(variance, square, of_variance, of_square)


def sample(p: Point, batches: int) -> Sample:
    """Gradients of the point's examples; where its loss does not split, of its pieces or of `batches` fresh batches.

    So too where the batch is a single example. The point's own batch is one of the `batches`. A loss that is one
    number for the batch is taken for the mean over as many examples as the batch's first tensor is long. Costs one
    round of per-example norms, or one gradient and one loss a piece or batch, and is kept with the point. Raises
    ValueError where the loss does not split, the batch is in one piece, and the task draws no other.
    """
    key = f"gradient sample/{batches}"
    if key not in p.memo:
        p.memo[key] = _sample(p, batches)
    return p.memo[key]


def _sample(p: Point, batches: int) -> Sample:
    try:
        norms = p.each_grad_norm()
    except ValueError:  # it does not split by example
        norms = {}
    count = len(next(iter(norms.values()))) if norms else 0
    if count > 1 or (norms and not bool(torch.isfinite(tree.norm(norms)))):
        last = torch.stack([torch.linalg.vector_norm(p.grad[k]) for k in norms])
        both = torch.cat([torch.stack(list(norms.values())), last[:, None]], 1).cpu().double().square()
        return Sample(tuple(norms), both[:, :-1], both[:, -1], torch.ones(count, dtype=torch.float64), count)
    parts = pieces(p.batch)
    if len(parts) > 1:
        return _of_batches([p.on(x) for x in parts], together=True)
    if not bool(torch.isfinite(tree.norm(p.grad))):
        return _of_batches([p])
    return _of_batches([p, *(p.fresh(f"gradient sample/{i}") for i in range(1, batches))])


def examples(p: Point) -> int:
    """How many examples the batch has: as many as losses; where there is one, as the first tensor is long."""
    p.cost["loss"] += 1
    count = 0
    for part in pieces(p.batch):
        with torch.no_grad():
            here = p.task.losses(p.w, part).numel()
        long = [len(x) for _, x in tree.leaves(part) if x.ndim]
        count += long[0] if here == 1 and long else here
    return count


def _of_batches(points: list[Point], together: bool = False) -> Sample:
    sizes = torch.tensor([examples(x) for x in points], dtype=torch.float64)
    squares, mean = [], None
    for x, size in zip(points, sizes.tolist(), strict=True):
        squares.append(_squares(x.grad))
        scaled = tree.each(lambda g, share=size / float(sizes.sum()): g * share, x.grad)
        mean = scaled if mean is None else tree.add(mean, scaled)
        if x is not points[0]:
            x.memo.clear()  # one gradient at a time
    assert mean is not None
    both = torch.stack([*squares, _squares(mean)], 1).cpu().double()
    return Sample(tuple(mean), both[:, :-1], both[:, -1], sizes, float(sizes.sum() if together else sizes[0]))


def _squares(a: Params) -> Tensor:
    return torch.stack([x.double().square().sum() if x.device.type == "cpu" else x.square().sum() for x in a.values()])
