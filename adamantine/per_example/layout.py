"""Which entries of a tensor belong to which example."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# How far the gradient of losses times powers of two may be from the gradient times them: rounding has no part in it,
# but sums are not taken in the same order everywhere.
CLOSE = {torch.float64: 1e-6, torch.float32: 1e-3}
ROUGH = 2e-2


@dataclass(frozen=True)
class Layout:
    """Along `axis`, of size `outer * examples * inner`, the example is the middle index.

    `inner = 1, outer = 1` is an axis of examples; tokens of one example one after another are `inner` tokens.
    """

    examples: int
    axis: int = 0
    inner: int = 1

    def lead(self, x: Tensor) -> Tensor:
        """`[B, *before, outer, inner, *after]`; of a single example, all of it: `[1, *shape]`."""
        if self.examples == 1:
            return x.unsqueeze(0)
        split = (-1, self.examples, self.inner)
        x = x.reshape(*x.shape[: self.axis], *split, *x.shape[self.axis + 1 :])
        return x.movedim(self.axis + 1, 0)

    def spread(self, numbers: Tensor, x: Tensor) -> Tensor:
        """One number an example, `[B]`, to be multiplied with `x`."""
        if self.examples == 1:
            return numbers.to(x.dtype)
        outer = x.shape[self.axis] // (self.examples * self.inner)
        along = numbers.to(x.dtype).repeat_interleave(self.inner).repeat(outer)
        return along.reshape(-1, *[1] * (x.ndim - self.axis - 1))


def layouts(shape: torch.Size, examples: int) -> Iterator[Layout]:
    """All there could be for a tensor of `shape`, the usual ones first."""
    if examples == 1:
        yield Layout(1)
        return
    for axis, n in enumerate(shape):
        if n and n % examples == 0:
            rest = n // examples
            for inner in sorted((i for i in range(1, rest + 1) if rest % i == 0), reverse=True):
                yield Layout(examples, axis, inner)


def fitting(plain: Tensor, scaled: Tensor, numbers: Tensor) -> list[Layout]:
    """The layouts in which `scaled`, the gradient of the losses times `numbers`, is `plain` times them."""
    close = CLOSE.get(scaled.dtype, ROUGH) * float(scaled.norm())
    found = layouts(scaled.shape, len(numbers))
    return [x for x in found if float((plain * x.spread(numbers, plain)).sub_(scaled).norm()) <= close]


def scattered(plain: Tensor, scaled: Tensor, numbers: Tensor) -> bool:
    """Whether every entry belongs to a single example all the same, in whatever order: its factor is one of `numbers`.

    Sequences packed, sorted or routed by their content are of that kind.
    """
    some = plain.abs() > 1e-3 * plain.abs().max()
    ratio = (scaled[some] / plain[some])[:, None]
    off = (ratio / numbers.unique().to(ratio) - 1).abs().amin(1)
    return float((off <= CLOSE.get(scaled.dtype, ROUGH)).double().mean()) > 0.9
