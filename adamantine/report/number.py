"""Numbers in words for readers: as many digits as they bear."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def number(v: Any) -> str:
    """A number for readers: four significant digits, `a×10ⁿ` far from 1, `∞`, and a dash for NaN."""
    if v is None or (isinstance(v, (float, np.floating)) and math.isnan(v)):
        return "–"
    if isinstance(v, (bool, str)) or not isinstance(v, (int, float, np.number)):
        return str(v)
    if isinstance(v, (int, np.integer)):
        return f"{v:,}".replace(",", "\u202f").replace("-", "−") if abs(v) >= 10_000 else str(v).replace("-", "−")
    if math.isinf(v):
        return "∞" if v > 0 else "−∞"
    if v == 0:
        return "0"
    if _plain(float(v)):
        digits = max(0, 3 - math.floor(math.log10(abs(v))))
        text = f"{v:.{digits}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
    digits, power = f"{v:.2e}".split("e")
    small = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits.rstrip('0').rstrip('.')}×10{small}".replace("-", "−")


def rounded(effect: float, low: float, high: float) -> tuple[str, ...]:
    """An effect and its interval with the decimals that the interval bears: two digits of half its width.

    A value other than 0 is given up to two decimals more where it would read 0.
    """
    values = (effect, low, high)
    half = (high - low) / 2
    if not all(map(math.isfinite, values)) or not half > 0 or not _plain(max(map(abs, values))) or half < 1e-3:
        return tuple(map(number, values))
    digits = 1 - math.floor(math.log10(half))
    for _ in range(2):
        digits += any(v and not round(v, digits) for v in values)
    return tuple(_fixed(v, digits) for v in values)


def column(values: Sequence[Any]) -> list[str]:
    """The cells of a column: its fractions with equally many decimals, four digits of the largest."""
    each = [number(v) for v in values]
    sizes = [abs(float(v)) for v in values if isinstance(v, (float, np.floating)) and math.isfinite(v) and v]
    if not sizes or not all(map(_plain, sizes)):
        return each
    wanted = max(0, 3 - math.floor(math.log10(max(sizes))))
    longest = max(len(text.partition(".")[2]) for text in each)
    digits = min(wanted, longest)
    if digits < longest and min(sizes) < 10.0 ** (1 - digits):
        return each  # the smallest would lose its second digit
    fraction = (float, np.floating)
    return [
        _fixed(float(v), digits) if isinstance(v, fraction) and math.isfinite(v) else text
        for v, text in zip(values, each, strict=True)
    ]


def _plain(v: float) -> bool:
    return 1e-3 <= abs(v) < 1e5


def _fixed(v: float, digits: int) -> str:
    return f"{round(v, digits) + 0.0:.{max(0, digits)}f}".replace("-", "−")  # + 0.0: no sign on zero
