"""The whole numbers in the state of a part: its counts of steps."""

from collections.abc import Callable
from typing import Any


def each_count(f: Callable[[int], Any], s: Any) -> Any:
    """The state `s` with `f` of every whole number in the place of it."""
    if isinstance(s, dict):
        return {k: each_count(f, x) for k, x in s.items()}
    if isinstance(s, tuple):
        return tuple(each_count(f, x) for x in s)
    return f(s) if isinstance(s, int) and not isinstance(s, bool) else s
