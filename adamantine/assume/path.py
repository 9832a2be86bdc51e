"""The measured points of a run so far, kept with it, for what can be told only when its end is known."""

from typing import Any

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.known import update
from adamantine.tree import Params

Kept = tuple[tuple[int, Params, Params, Any], ...]


def remembered(p: Point, name: str, most: int) -> Kept:
    """Step, weights, gradient and loss of every measured point until now; of more than `most`, every second."""
    kept = (*p.notes.get(name, ()), (p.step, p.w, p.grad, p.loss))
    if len(kept) > most:
        kept = (*kept[:-1:2], kept[-1])
    p.notes[name] = kept
    return kept


def end_of(p: Point, who: str) -> Params:
    """Where the update leads: at the last step, where the run ends. Raises ValueError where there is none."""
    return tree.add(p.w, update(p, who), -1.0)
