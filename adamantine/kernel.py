"""A part as C text, so that a chain of parts becomes one pass over memory.

The functional `update` is the definition; what stands here is a faster way to the same numbers, and is tested
against it. A part that has one says so with `fused(s, p)`.
"""

from dataclasses import dataclass
from typing import Any

from adamantine.tree import Params

SQUARE = "x = g * g;"


@dataclass(frozen=True)
class Mean:
    """What a part takes from a whole block of coordinates before it can do anything to one of them.

    `block` is run once for every block of the given `shape` ("row", "column", "tensor"), with `mean` the mean over it
    of what `of` leaves in `x`: it may change arrays of that shape and leaves a value in `$NAME`, which the part's
    later means and its body read under this `name`. Shape "rows" is one block a tensor, `mean` the mean of what the
    part's mean by rows left. `of` sees `u`, `g`, `w` and the arrays, and may change copies only.
    """

    shape: str
    block: str
    of: str = SQUARE
    name: str = "out"


@dataclass(frozen=True)
class Packed:
    """An array of numbers of `bits` (8, or 4 with two in a byte) with a float32 scale for every `block` of neighbours.

    `decode` sets `T y` from the byte `int q`, `encode` the reverse, `y` being the number over the largest magnitude of
    its block.
    """

    block: int
    decode: str
    encode: str
    bits: int = 8


@dataclass(frozen=True)
class Code:
    """The text of one part, the same at every step.

    `body` is run for every coordinate: it changes the direction `u`, and may read the raw gradient `g` and the weight
    `w`. `$name` is one of `numbers`, what a mean has left, or a state array of `arrays` at this coordinate, which it
    may change: a `(name, shape)` pair with shape "full", "bf16" (as full, in that type), "row", "column",
    "tensor" or a `Packed`.
    """

    body: str
    arrays: tuple[tuple[str, str | Packed], ...] = ()
    numbers: tuple[str, ...] = ()
    means: tuple[Mean, ...] = ()


@dataclass(frozen=True)
class Fused:
    """One step of a part: its text, the state tensors and numbers it runs on, and the state afterwards.

    `arrays` are parts of the state before, by parameter name, which the step changes in place; `state` holds them too.
    A `Packed` array takes two, bytes and scales.
    """

    code: Code
    arrays: tuple[Params, ...] = ()
    numbers: tuple[float, ...] = ()
    state: Any = ()
