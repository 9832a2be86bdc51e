"""What a probe wants to know of the point or be given to begin with, or a sentence that says so."""

from typing import Any

from adamantine.point import Point
from adamantine.tree import Params


def update(p: Point, who: str) -> Params:
    """The update at the point. Raises ValueError where there is none."""
    if p.u is None:
        raise ValueError(f"{who}: the point has no update; measure it in a Run, or at `point.after(u, s)`.")
    return p.u


def optimizer(p: Point, who: str) -> Any:
    """Whose update it is. Raises ValueError where that is not known."""
    if p.optimizer is None:
        raise ValueError(
            f"{who}: the point knows no optimizer; measure it in a Run, or at `point.after(u, s, optimizer)`."
        )
    return p.optimizer


def refuse_few_batches(batches: int, who: str) -> None:
    """Raise ValueError for too few independent batches for a standard error of their ratio."""
    if batches < 3:
        raise ValueError(f"{who}: batches = {batches} must be at least 3, to tell an error.")
