"""What hyperparameters may be: one sentence for each way of leaving the range, raised where a part is built."""

from numbers import Real
from typing import Any

from torch import Tensor

from adamantine.part import Part


def _numbers(owner: Any, values: dict[str, Any]) -> None:
    """Every value is a number, or a tensor that holds one; TypeError otherwise."""
    for name, x in values.items():
        if isinstance(x, bool) or not (isinstance(x, Real) or (isinstance(x, Tensor) and x.numel() == 1)):
            raise TypeError(f"{type(owner).__name__}: {name} = {x!r} must be a number; give one.")


def betas(owner: Any, **values: float) -> None:
    """Every averaging coefficient lies in `[0, 1)`; ValueError otherwise."""
    _numbers(owner, values)
    for name, x in values.items():
        if not 0 <= x < 1:
            raise ValueError(
                f"{type(owner).__name__}: {name} = {x!r} must lie in [0, 1), or the average never settles; "
                "0 keeps no memory, 0.9 about ten steps."
            )


def nonnegative(owner: Any, **values: float) -> None:
    """Every value is a finite number that is not negative; ValueError otherwise."""
    _numbers(owner, values)
    for name, x in values.items():
        if not 0 <= x < float("inf"):
            raise ValueError(
                f"{type(owner).__name__}: {name} = {x!r} must be finite and not negative; give 0 to turn it off."
            )


def positive(owner: Any, **values: float) -> None:
    """Every value is a finite number above zero; ValueError otherwise."""
    _numbers(owner, values)
    for name, x in values.items():
        if not 0 < x < float("inf"):
            raise ValueError(
                f"{type(owner).__name__}: {name} = {x!r} must be finite and above zero; give a positive number."
            )


def whole(owner: Any, least: int = 1, /, **values: int) -> None:
    """Every value is an integer of at least `least`; ValueError otherwise."""
    for name, x in values.items():
        if not isinstance(x, int) or isinstance(x, bool) or x < least:
            raise ValueError(
                f"{type(owner).__name__}: {name} = {x!r} must be a whole number of at least {least}; give one."
            )


def choice(owner: Any, options: tuple[str, ...], **values: str) -> None:
    """Every value is one of `options`; ValueError otherwise."""
    for name, x in values.items():
        if x not in options:
            raise ValueError(f"{type(owner).__name__}: {name} = {x!r} is unknown; give one of {', '.join(options)}.")


def part(owner: Any, **values: Any) -> None:
    """Every value is a `Part`; TypeError otherwise."""
    for name, x in values.items():
        if not isinstance(x, Part):
            raise TypeError(
                f"{type(owner).__name__}: {name} is a {type(x).__name__}, but must be a Part; "
                "compose one, as in Ema() >> Rms()."
            )
