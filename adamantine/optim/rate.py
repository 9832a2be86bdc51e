"""The learning rate that a composition steps with now, for parts that weigh their own averages by it."""

from dataclasses import fields
from math import prod

from adamantine.optim.lr import Lr
from adamantine.part import Chain, Part
from adamantine.point import Point


def rate(part: Part, p: Point) -> float:
    """The product of every `Lr` along `part` at the step of `p`, the largest where it branches; 1 where it has none.

    Read anew at every step: a rate may be replaced from outside in the middle of training.
    """
    if isinstance(part, Lr):
        return part.size * part.schedule(p.step, p.steps)
    if isinstance(part, Chain):
        return prod(rate(x, p) for x in part.parts)
    held = [getattr(part, f.name) for f in fields(part)]
    return max((rate(x, p) for x in held if isinstance(x, Part)), default=1.0)
