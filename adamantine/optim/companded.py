"""Moments in 8 bits by companding, a curve that spreads small numbers over more codes (FlashOptim, arXiv:2602.23349).

Unlike the table of `Int8` it is arithmetic alone, a few operations a number, which is why it is faster.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.kernel import Packed
from adamantine.optim import limits
from adamantine.optim.blockwise import absolute, relative
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.optim.stored import Stored
from adamantine.part import Part, State


@dataclass(frozen=True)
class Companded8:
    """A byte a number and a float32 a block; `x` is first divided by its block's largest magnitude.

    With a sign the code is `round(127 * 2 x / (1 + |x|)) + 128`, softsign, error at most 1/127. `signed=False` is for
    second moments: `round(255 sqrt(x))`, error at most 1/255, and at least 1 where `x > 0`, so that no step is divided
    by a second moment that was rounded to nothing. Tensors of fewer than `least` numbers are left alone.
    """

    signed: bool = True
    block: int = 128
    least: int = 4096

    def __post_init__(self) -> None:
        limits.whole(self, block=self.block, least=self.least)

    @property
    def packed(self) -> Packed:
        """The same as C text."""
        if self.signed:
            decode = "const T d = (T)(q - 128) * (T)(1.0 / 127); y = d / (2 - (d < 0 ? -d : d));"
            encode = "const T e = 254 * y / (1 + (y < 0 ? -y : y)); q = (int)(e + (e < 0 ? (T)-0.5 : (T)0.5)) + 128;"
        else:
            decode = "const T d = (T)q * (T)(1.0 / 255); y = d * d;"
            encode = "q = (int)(255 * sqrt(y) + (T)0.5); q = y > 0 && q < 1 ? 1 : q;"
        return Packed(self.block, decode, encode)

    def encode(self, x: Tensor) -> State:
        """Bytes `[n]` and scales `[ceil(n / block)]`, blocks cut from `x` flattened."""
        y, scale = relative(x, self.block)
        code = 254 * y / (1 + y.abs()) if self.signed else 255 * y.sqrt()
        code = torch.where(code < 0, code - 0.5, code + 0.5).trunc()  # halves away from zero
        code = code + 128 if self.signed else torch.where(y > 0, code.clamp_min(1), 0)
        return code.view(-1)[: x.numel()].to(torch.uint8), scale

    def decode(self, s: State, like: Tensor) -> Tensor:
        """A tensor of the shape and type of `like`."""
        index, scale = s
        code = index.to(like.dtype)
        d = (code - 128) / 127 if self.signed else code / 255
        y = d / (2 - d.abs()) if self.signed else d.square()
        return absolute(y, scale, self.block, like)

    def size_bytes(self, like: Tensor) -> int:
        """Bytes of what `encode` gives for such a tensor."""
        return like.numel() + 4 * -(-like.numel() // self.block)


def adamw_companded(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
    block: int = 128,
    least: int = 4096,
    schedule: Schedule = Constant(),
) -> Part:
    """`Stored(Ema, Companded8) >> Stored(Rms, Companded8) >> Decay >> Lr` (arXiv:2602.23349).

    The state of FlashAdamW with 32-bit weights; its 16-bit weights with error bytes are not part of it, and its groups
    are shorter, of 32 numbers with 16-bit scales.
    """
    first = Stored(Ema(beta1), Companded8(True, block, least))
    second = Stored(Rms(beta2, eps), Companded8(False, block, least))
    return first >> second >> Decay(decay) >> Lr(lr, schedule)
