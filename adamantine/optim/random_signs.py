"""Random signs, for estimates of a diagonal (Hutchinson 1989; Bekas et al. 2007)."""

from torch import Tensor, randint

from adamantine.point import Point


def signs(x: Tensor, p: Point, purpose: str) -> Tensor:
    """Independent uniform signs in the shape of `x`, the point's own for this purpose."""
    drawn = randint(2, x.shape, generator=p.rng(purpose))
    return drawn.to(x.device, x.dtype) * 2 - 1
