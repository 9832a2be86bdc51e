"""Slices through the loss: its values on a line or a plane of weights, from forward passes alone.

A slice shows a few of very many directions, and its shape depends on how they are scaled: random ones are scaled filter
by filter, to the weights (Li et al., arXiv:1712.09913), and a straight line between two networks is no path of training
(Goodfellow et al., arXiv:1412.6544).
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.tree import Params


def line(p: Point, direction: Params, at: Sequence[float]) -> Iterator[float]:
    """The loss at `w + t direction` for each `t` of `at`, one forward pass each, as they are asked for.

    The batch is the point's; with `Pieces` for a batch it is a data set. Raises ValueError for a direction that does
    not fit the weights.
    """
    fits(direction, p.w)
    return (float(p.at(tree.add(p.w, direction, t)).loss) for t in at)


def plane(p: Point, a: Params, b: Params, xs: Sequence[float], ys: Sequence[float]) -> Iterator[list[float]]:
    """The loss at `w + x a + y b`: for each `y` a row with a loss for each `x`, as the rows are asked for.

    Takes `len(xs) len(ys)` forward passes. Raises ValueError for a direction that does not fit the weights.
    """
    fits(a, p.w)
    fits(b, p.w)
    return (list(line(p.at(tree.add(p.w, b, y)), a, xs)) for y in ys)


def interpolation(p: Point, start: Params, end: Params, at: Sequence[float]) -> Iterator[float]:
    """The loss at `(1 - t) start + t end`, on the point's batch; the point's own weights take no part."""
    fits(end, start)
    return line(p.at(start), tree.add(end, start, -1.0), at)


def barrier(at: Sequence[float], losses: Sequence[float]) -> float:
    """The most that the loss along a line exceeds the straight line between the values at its two ends, at least 0.

    Between two trained networks it is the barrier of linear mode connectivity (Frankle et al., arXiv:1912.05671); one
    that lies between two places of `at` is missed. Raises ValueError for fewer than two places.
    """
    if len(at) != len(losses) or len(at) < 2 or list(at) != sorted({*at}):
        raise ValueError(f"barrier: {len(at)} places and {len(losses)} losses; give as many, ascending, at least two.")
    share = [(t - at[0]) / (at[-1] - at[0]) for t in at]
    return max(f - (1 - s) * losses[0] - s * losses[-1] for s, f in zip(share, losses, strict=True))


def random_directions(w: Params, rng: torch.Generator, count: int = 2) -> tuple[Params, ...]:
    """Independent standard normal directions in the shape of `w`, nearly orthogonal where it is large.

    Drawn on the CPU. A slice along them says nothing before they are scaled: see `filter_normalized`.
    """
    return tuple(
        {k: torch.randn(x.shape, generator=rng, dtype=x.dtype).to(x.device) for k, x in w.items()} for _ in range(count)
    )


def filter_normalized(direction: Params, w: Params, vectors: str = "zero") -> Params:
    """The direction with every filter scaled to the norm of the weights' filter (arXiv:1712.09913).

    A filter is what one index of a tensor's first axis selects: the incoming weights of one unit, in the layout of
    torch's linear and convolution layers. A filter of zeros stays one. Vectors and scalars (biases, gains of norms) are
    no filters: with `vectors="zero"` they stand still, with "whole" each is scaled as one. Raises ValueError for other
    words and for a direction that does not fit.
    """
    if vectors not in ("zero", "whole"):
        raise ValueError(f'filter_normalized: vectors {vectors!r} is not one of "zero" and "whole".')
    fits(direction, w)

    def scaled(d: Tensor, x: Tensor) -> Tensor:
        if x.ndim < 2:
            return d * _ratio(x.norm(), d.norm()) if vectors == "whole" else torch.zeros_like(d)
        ratio = _ratio(x.flatten(1).norm(dim=1), d.flatten(1).norm(dim=1))
        return d * ratio.reshape(-1, *[1] * (x.ndim - 1))

    return tree.each(scaled, direction, w)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b > 0, a / b.clamp_min(torch.finfo(b.dtype).tiny), 0.0)


def fits(direction: Params, w: Params) -> None:
    """Raise ValueError where the two have not the same tensors."""
    for k in w.keys() | direction.keys():
        if k not in w or k not in direction or w[k].shape != direction[k].shape:
            there, here = (list(x[k].shape) if k in x else "missing" for x in (direction, w))
            raise ValueError(
                f"a direction has the tensors of the weights: {k!r} is {there} in the direction and {here} in the "
                "weights; make it from the same weights."
            )
