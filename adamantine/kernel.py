"""A part as C text, so that a chain of parts becomes one pass over memory.

The functional `update` is the definition; what stands here is a faster way to the same numbers, and is tested
against it. A part that has one says so with `fused(s, p)`.
"""

from dataclasses import dataclass
from typing import Any

from adamantine.tree import Params

SQUARE = "x = g * g;"


@dataclass(frozen=True)
class Code:
    """The text of one part, the same at every step.

    `body` is run for every coordinate: it changes the direction `u`, and may read the raw gradient `g` and the weight
    `w`. `$name` is one of `numbers`, or a state array of `arrays` at this coordinate (which it may change), a `(name,
    shape)` pair with shape "full", "row", "column" or "tensor".

    Where `mean` names one of these shapes but "full", `block` is run for every block of that shape before, with
    `mean` the mean over it of what `of` leaves in `x`: it changes the block's arrays and leaves in `$out` what `body`
    then reads as `$out`. `of` sees `u`, `g`, `w` and the arrays as they come in, and may change copies only; where it
    looks at anything but `g`, the part is the first of its pass.
    """

    body: str
    arrays: tuple[tuple[str, str], ...] = ()
    numbers: tuple[str, ...] = ()
    mean: str = ""
    block: str = ""
    of: str = SQUARE


@dataclass(frozen=True)
class Fused:
    """One step of a part: its text, the state tensors and numbers it runs on, and the state afterwards.

    `arrays` are parts of the state before, by parameter name, which the step changes in place; `state` holds them too.
    """

    code: Code
    arrays: tuple[Params, ...] = ()
    numbers: tuple[float, ...] = ()
    state: Any = ()
