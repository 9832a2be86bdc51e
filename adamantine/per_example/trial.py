"""A second backward pass, of the losses times known numbers, that tells how the recorded operations are to be read.

Where the losses split by example, an entry of a gradient that belongs to an example is multiplied by the number of
that example: this tells its layout. And what the rules then make of it must add up to the gradient that autograd
finds for every parameter; a parameter where it does not is served example by example.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.per_example.layout import Layout, fitting, layouts, scattered

GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Plan:
    """The layout of every operation's result (None: read by no rule), and who is served by whom.

    `vmap` and `loop` name the parameters served example by example. `certain` says that nothing was ambiguous, so
    that the plan holds for other batches of these shapes.
    """

    layouts: tuple[Layout | None, ...]
    vmap: tuple[str, ...] = ()
    loop: tuple[str, ...] = ()
    certain: bool = True


class Coupled(Exception):
    """The loss of an example depends on others."""


def numbers(losses: Tensor) -> Tensor:
    """One for each loss: 1, 2, 4 or 8, in no order that repeats, so that nothing is rounded in any precision."""
    i = torch.arange(1, len(losses) + 1, dtype=torch.float64)
    return (2 ** (i.square() * GOLDEN % 1 * 4).floor()).to(losses)


def read(plain: Tensor | None, scaled: Tensor | None, c: Tensor) -> tuple[Layout | None, bool]:
    """The layout of a result with these gradients, and whether it is the only one.

    None where it took no part or its entries are in no order of examples; raises Coupled where they mix examples.
    """
    if plain is None or scaled is None or not bool(plain.any()):
        # It may take part another time: a head that starts from zero passes nothing down.
        return None, plain is None
    finite = torch.isfinite(plain) & torch.isfinite(scaled)
    whole = bool(finite.all())
    if not whole:
        plain, scaled = (x.where(finite, torch.zeros_like(x)) for x in (plain, scaled))
    found = fitting(plain, scaled, c) if bool(plain.any()) else []
    if found or not whole:
        return found[0] if found else None, whole and len(found) == 1
    if any(True for _ in layouts(plain.shape, len(c))) and not scattered(plain, scaled, c):
        raise Coupled
    return None, True
