"""Keeping tensors in 8 or 4 bits, with a scale for every block of neighbouring numbers.

Eight bits: Dettmers et al., arXiv:2110.02861. Four: Li et al., arXiv:2309.01507. Both number a block's values over
its largest magnitude by a table that is dense near zero: decades of equal cells, twice as many in each larger decade.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.kernel import Packed
from adamantine.optim import limits
from adamantine.part import State


@lru_cache(maxsize=64)
def dynamic_map(decades: int, signed: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The table, in rising order, `[2^(decades + 1)]`; read-only.

    Decade `e` from below, `[0.1, 1] * 10^(e + 1 - decades)`, has the centres of `2^e` equal cells with either sign, or
    of twice as many where no sign is needed. Zero and one are added.
    """
    values = [0.0, 1.0]
    for e in range(decades):
        cells = 2**e if signed else 2 ** (e + 1)
        centres = [10.0 ** (e + 1 - decades) * (0.1 + 0.9 * (i + 0.5) / cells) for i in range(cells)]
        values += centres + ([-x for x in centres] if signed else [])
    return torch.tensor(sorted(values), dtype=torch.float64).to(device, dtype)


LINEAR = "q = (int)ceil(16 * y - (T)1.5); q = q < 0 ? 0 : q > 15 ? 15 : q;"  # to the nearest of 1/16 ... 16/16


@lru_cache(maxsize=8)
def dynamic_text(decades: int, signed: bool) -> tuple[str, str]:
    """C text from a byte `q` to its value `y` in `dynamic_map` and back to the nearest, by arithmetic alone.

    The text has no table and no branch, so that a compiler can do many numbers at once. Counted from zero, decade `e`
    holds the places `2^e .. 2^(e + 1) - 1`, or twice as many; a chain of comparisons finds it.
    """
    table = [float(x) for x in dynamic_map(decades, signed, torch.float64, torch.device("cpu")) if x >= 0]
    per = 1 if signed else 2
    middle = 2**decades - 1 if signed else 0  # the byte of zero
    first = [per * (2**e - 1) + 1 for e in range(decades)]  # places from zero where decades begin
    low, step = "0", "0"
    for e in range(decades):
        width = 0.9 * 10.0 ** (e + 1 - decades) / (per * 2**e)
        start = 10.0 ** (e + 1 - decades) * 0.1 + width / 2 - width * first[e]
        low, step = f"(k >= {first[e]} ? (T){start!r} : {low})", f"(k >= {first[e]} ? (T){width!r} : {step})"
    last = per * (2**decades - 1) + 1  # the place of one
    size = f"(k >= {last} ? (T)1 : {low} + {step} * (T)k)"
    decode = f"const int d = q - {middle}, k = d < 0 ? -d : d; const T a = {size}; y = d < 0 ? -a : a;"
    low, over = "0", "0"
    lines = ["const T a = y < 0 ? -y : y;"]
    for e in range(decades):
        width = 0.9 * 10.0 ** (e + 1 - decades) / (per * 2**e)
        bound = (table[first[e] - 1] + table[first[e]]) / 2
        # Within a decade the nearest centre is the cell; the bound before it is half way to the decade below.
        start = first[e] - 10.0 ** (e + 1 - decades) * 0.1 / width
        low, over = f"(a > (T){bound!r} ? (T){start!r} : {low})", f"(a > (T){bound!r} ? (T){1 / width!r} : {over})"
    most, least = "0", "0"
    for e in range(decades):
        bound = (table[first[e] - 1] + table[first[e]]) / 2
        end = first[e] + per * 2**e - 1
        most, least = f"(a > (T){bound!r} ? {end} : {most})", f"(a > (T){bound!r} ? {first[e]} : {least})"
    lines.append(f"int k = (int)({low} + {over} * a); const int lo = {least}, hi = {most};")
    lines.append("k = k < lo ? lo : k > hi ? hi : k;")
    top = (table[last - 1] + table[last]) / 2
    # One has no mirror image: below minus its half way the largest centre stays.
    lines.append(f"k = {'y' if signed else 'a'} > (T){top!r} ? {last} : k; q = {middle} + (y < 0 ? -k : k);")
    return decode, " ".join(lines)


@lru_cache(maxsize=64)
def linear_map(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """`1 / size, 2 / size, ..., 1`: no zero, by which a second moment would be divided; read-only."""
    return (torch.arange(1, size + 1, dtype=torch.float64) / size).to(device, dtype)


def relative(x: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """`x` over the largest magnitude of its block, `[blocks, block]`, and the magnitudes, float32 `[blocks]`.

    Blocks are cut from `x` flattened, the last one filled up with zeros.
    """
    flat = x.reshape(-1)
    blocks = F.pad(flat, (0, -len(flat) % block)).view(-1, block)
    scale = blocks.abs().amax(1).float()
    return blocks / scale.to(x.dtype).clamp_min(torch.finfo(torch.float32).tiny)[:, None], scale


def absolute(y: Tensor, scale: Tensor, block: int, like: Tensor) -> Tensor:
    """Inverse of `relative`, from numbers `[n]`: a tensor of the shape and type of `like`."""
    return (y * scale.to(like.dtype).repeat_interleave(block)[: len(y)]).view(like.shape)


def numbered(x: Tensor, block: int, table: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the nearest value of `table` for each number of `x` over the largest magnitude of its block.

    Indices are bytes `[n]`, the magnitudes those of `relative`.
    """
    y, scale = relative(x, block)
    index = torch.bucketize(y.contiguous(), (table[1:] + table[:-1]) / 2)
    return index.view(-1)[: x.numel()].to(torch.uint8), scale


def valued(index: Tensor, scale: Tensor, block: int, table: Tensor, like: Tensor) -> Tensor:
    """Inverse of `numbered`, up to the nearest: a tensor of the shape of `like`."""
    return absolute(table[index.long()], scale, block, like)


@dataclass(frozen=True)
class Int8:
    """A byte a number and a float32 a block; error at most 0.0071 of the block's largest, half that without a sign.

    `signed=False` is for second moments. Tensors of fewer than `least` numbers are left alone.
    """

    signed: bool = True
    block: int = 256
    least: int = 4096

    def __post_init__(self) -> None:
        limits.whole(self, block=self.block, least=self.least)

    def _table(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        return dynamic_map(7, self.signed, dtype, device)

    @property
    def packed(self) -> Packed:
        """The same as C text."""
        return Packed(self.block, *dynamic_text(7, self.signed))

    def encode(self, x: Tensor) -> State:
        """Indices and scales."""
        return numbered(x, self.block, self._table(x.dtype, x.device))

    def decode(self, s: State, like: Tensor) -> Tensor:
        """A tensor of the shape and type of `like`."""
        return valued(s[0], s[1], self.block, self._table(like.dtype, s[0].device), like)

    def size_bytes(self, like: Tensor) -> int:
        """Bytes of what `encode` gives for such a tensor."""
        return like.numel() + 4 * -(-like.numel() // self.block)


@dataclass(frozen=True)
class Int4:
    """Half a byte a number and a float32 a block; with a sign the table of `Int8` with three decades.

    Its error is at most 0.113 of the block's largest magnitude. `signed=False` is for second moments: equal steps
    without zero, error at most 1/16 below the first step and 1/32 above. The paper scales second moments by the lesser
    of a row's and a column's largest; here they have blocks like the first. Tensors of fewer than `least` numbers are
    left alone.
    """

    signed: bool = True
    block: int = 128
    least: int = 4096

    def __post_init__(self) -> None:
        limits.whole(self, block=self.block, least=self.least)

    def _table(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        return dynamic_map(3, True, dtype, device) if self.signed else linear_map(16, dtype, device)

    @property
    def packed(self) -> Packed:
        """The same as C text."""
        if self.signed:
            return Packed(self.block, *dynamic_text(3, True), bits=4)
        return Packed(self.block, "y = (q + 1) * (T)0.0625;", LINEAR, bits=4)

    def encode(self, x: Tensor) -> State:
        """Indices, two a byte, and scales."""
        index, scale = numbered(x, self.block, self._table(x.dtype, x.device))
        pairs = F.pad(index, (0, len(index) % 2)).view(-1, 2)
        return pairs[:, 0] | pairs[:, 1] << 4, scale

    def decode(self, s: State, like: Tensor) -> Tensor:
        """A tensor of the shape and type of `like`."""
        index = torch.stack([s[0] & 15, s[0] >> 4], 1).view(-1)[: like.numel()]
        return valued(index, s[1], self.block, self._table(like.dtype, s[0].device), like)

    def size_bytes(self, like: Tensor) -> int:
        """Bytes of what `encode` gives for such a tensor."""
        return -(-like.numel() // 2) + 4 * -(-like.numel() // self.block)
