"""Keeping tensors in 32 or 16 bits of floating point, or in 16 and a byte for the rounding error.

The byte is the idea of FlashOptim (arXiv:2602.23349): the error in units of the last place is a small number itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.part import State


@dataclass(frozen=True)
class Fp32:
    """Single precision: relative error at most `2^-24`. Tensors of fewer than `least` numbers are left alone."""

    least: int = 1

    def __post_init__(self) -> None:
        limits.whole(self, least=self.least)

    @property
    def packed(self) -> None:
        """There is none."""

    def encode(self, x: Tensor) -> State:
        """The rounded tensor."""
        return x.float()

    def decode(self, s: State, like: Tensor) -> Tensor:
        """A tensor of the shape and type of `like`."""
        return s.to(like.dtype)

    def size_bytes(self, like: Tensor) -> int:
        """Bytes of what `encode` gives for such a tensor."""
        return 4 * like.numel()


@dataclass(frozen=True)
class Bf16:
    """Eight bits of exponent, seven of fraction, to the nearest: relative error at most `2^-8`.

    With `error`, the rest `x - bf16(x)` is kept in a signed byte, as a multiple of 1/127 of half a unit in the last
    place, and the relative error is at most 1.55e-5. Tensors of fewer than `least` numbers are left alone.
    """

    error: bool = False
    least: int = 1

    def __post_init__(self) -> None:
        limits.whole(self, least=self.least)

    @property
    def packed(self) -> str | None:
        """The same as C text, without the error."""
        return None if self.error else "bf16"

    def encode(self, x: Tensor) -> State:
        """The rounded tensor, and the error bytes where they are kept."""
        high = x.bfloat16()
        if not self.error:
            return high
        rest = (x - high.to(x.dtype)) / _half_unit(high, x.dtype)
        return high, rest.nan_to_num(0.0).clamp(-1, 1).mul(127).round().to(torch.int8)

    def decode(self, s: State, like: Tensor) -> Tensor:
        """A tensor of the shape and type of `like`."""
        if not self.error:
            return s.to(like.dtype)
        high = s[0].to(torch.bfloat16)
        return high.to(like.dtype) + (s[1].to(like.dtype) / 127 * _half_unit(high, like.dtype)).nan_to_num(0.0)

    def size_bytes(self, like: Tensor) -> int:
        """Bytes of what `encode` gives for such a tensor."""
        return (3 if self.error else 2) * like.numel()


def _half_unit(high: Tensor, dtype: torch.dtype) -> Tensor:
    """Half the distance to the next number in bfloat16: `2^(e - 9)` for `|high|` in `[2^(e - 1), 2^e)`."""
    exponent = torch.frexp(high.float())[1]
    return torch.ldexp(torch.ones_like(high, dtype=dtype), exponent - 9)
