"""What a claim concludes and shows: findings, figures and tables as data, free of how they are drawn."""

import math
from dataclasses import dataclass, field
from typing import Any

SUPPORTED, REFUTED, INCONCLUSIVE = "supported", "refuted", "inconclusive"


@dataclass(frozen=True)
class Finding:
    """One statement and what the evidence says of it.

    `effect` with its `interval` (level `level`) is in `unit`; `n` counts the independent `replicates`, at
    least 2; `rule` says in a sentence when the verdict would have been otherwise; `keys` are the runs behind it.
    """

    statement: str
    verdict: str
    effect: float
    interval: tuple[float, float]
    unit: str
    n: int
    rule: str
    task: str = ""
    level: float = 0.95
    keys: tuple[str, ...] = field(default=(), repr=False)
    replicates: str = "paired seeds"

    def __post_init__(self) -> None:
        """Refuse a verdict without replication."""
        if self.verdict not in (SUPPORTED, REFUTED, INCONCLUSIVE):
            raise ValueError(f"Finding: {self.verdict!r} is not supported, refuted or inconclusive.")
        if self.n < 2 and self.verdict != INCONCLUSIVE:
            raise ValueError(
                f"Finding {self.statement!r}: a verdict needs at least two {self.replicates}, not {self.n}."
            )


@dataclass(frozen=True)
class Findings:
    """The verdict of a claim: a one-paragraph answer and its findings, the chief one first."""

    answer: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """A named line (or points) `y` against `x`, with an optional band `[low, high]`.

    `group` decides the colour, `style` is "line", "dash", "points" or "bar"; `marks` are x positions where
    a run diverged, drawn at the top edge.
    """

    name: str
    x: list[Any]
    y: list[float]
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    group: str = ""
    style: str = "line"
    marks: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """Curves over common axes; `x_scale` and `y_scale` are "linear", "log" or "category"."""

    title: str
    caption: str
    x: str
    y: str
    curves: tuple[Curve, ...]
    x_scale: str = "linear"
    y_scale: str = "linear"
    keys: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Heat:
    """Numbers of named rows at named or numbered columns, `values[row][column]` in `unit`, drawn as colours.

    `x` and `y` say what columns and rows are. `scale` is "linear", "log" (values above 0) or "diverging" (around 0);
    what is not finite, or not above 0 on a logarithmic scale, is a gap. Raises ValueError for values of another shape
    than the names, for names that come twice and for another scale.
    """

    title: str
    caption: str
    x: str
    y: str
    columns: tuple[Any, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    unit: str = ""
    scale: str = "linear"
    keys: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if len(self.values) != len(self.rows) or any(len(v) != len(self.columns) for v in self.values):
            raise ValueError(f"Heat {self.title!r}: values must have one number for each of its rows and columns.")
        if len({*self.rows}) != len(self.rows) or len({*self.columns}) != len(self.columns):
            raise ValueError(f"Heat {self.title!r}: a name of a row or column comes twice; make them differ.")
        if self.scale not in ("linear", "log", "diverging"):
            raise ValueError(f"Heat {self.title!r}: scale {self.scale!r} is not linear, log or diverging.")


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words under named columns."""

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    keys: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Gallery:
    """Named rows of grey images, each nested lists `[N][H][W]` of values in [0, 1]."""

    title: str
    caption: str
    rows: dict[str, list[list[list[float]]]]
    keys: tuple[str, ...] = field(default=(), repr=False)


def finite(x: float) -> bool:
    """Whether `x` is a number that can be drawn."""
    return isinstance(x, (int, float)) and math.isfinite(x)
