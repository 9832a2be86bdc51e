"""Compositions that differ in numbers alone: what they have in common, with the numbers taken out and put back."""

import copy
import dataclasses
from typing import Any

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Slot:
    """Where the number in this place goes."""

    place: int


def skeleton(x: Any) -> Any:
    """A composition without its numbers."""
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return type(x), tuple(skeleton(getattr(x, f.name)) for f in dataclasses.fields(x))
    if isinstance(x, tuple):
        return tuple(skeleton(y) for y in x)
    return float if isinstance(x, float) else x


def merged(parts: list[Any], numbers: list[list[float]]) -> Any:
    """One composition with a `Slot` for each number that differs; the values are put in `numbers`."""
    first = parts[0]
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        new = object.__new__(type(first))  # past the checks, which are for numbers
        for f in dataclasses.fields(first):
            object.__setattr__(new, f.name, merged([getattr(x, f.name) for x in parts], numbers))
        return new
    if isinstance(first, tuple):
        return tuple(merged(list(xs), numbers) for xs in zip(*parts, strict=True))
    if isinstance(first, float) and len(set(parts)) > 1:
        numbers.append(parts)
        return Slot(len(numbers) - 1)
    return first


def placed(x: Any, numbers: list[Tensor]) -> Any:
    """The composition with numbers in its slots."""
    if isinstance(x, Slot):
        return numbers[x.place]
    if isinstance(x, tuple):
        return tuple(placed(y, numbers) for y in x)
    if not dataclasses.is_dataclass(x) or isinstance(x, type):
        return x
    new = copy.copy(x)
    for f in dataclasses.fields(x):
        object.__setattr__(new, f.name, placed(getattr(x, f.name), numbers))
    return new
