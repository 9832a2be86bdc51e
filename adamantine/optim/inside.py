"""Every part inside a composition, for those that accept only some."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from adamantine.part import Part


def inside(x: Any) -> Iterator[Part]:
    """`x` and all that it is composed of, outermost first."""
    if isinstance(x, tuple):
        for y in x:
            yield from inside(y)
    elif isinstance(x, Part):
        yield x
        yield from inside(tuple(getattr(x, f.name) for f in fields(x)))
