"""A `Heat` as plotly's JSON: one coloured cell a number, rows in the order given, columns thinned to their extremes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adamantine.finding import Heat, finite
from adamantine.report.number import number
from adamantine.report.palette import DIVERGING, DIVERGING_DARK, SEQUENTIAL
from adamantine.report.sideways import plain

COLUMNS = 300  # cells a row drawn at most
LONGEST = 30  # letters of a row's name beside it; the hover and the data have it whole
FULL = 24  # rows above which a figure takes the whole width


def spec(item: Heat) -> dict[str, Any]:
    """`{"data", "layout", "legend", "drawn", "total"}`, as `trace.spec` gives for a Figure."""
    columns, values = drawn(item)
    low, high = ends(item)
    log = item.scale == "log"
    places = [[_place(v, log) for v in row] for row in values]
    named = any(isinstance(c, str) for c in item.columns)
    names = [plain(r) for r in item.rows]
    trace = {
        "type": "heatmap", "x": [plain(c) if named else c for c in columns], "y": names, "z": places,
        "zmin": low, "zmax": high, "hoverongaps": False,
        "colorscale": _scale(DIVERGING if item.scale == "diverging" else SEQUENTIAL),
        "colorbar": _bar(item, low, high),
        "meta": {"heat": True} | ({"dark": _scale(DIVERGING_DARK)} if item.scale == "diverging" else {}),
        "hovertemplate": f"%{{y}}<br>{plain(item.x)} %{{x}}: %{{{'customdata' if log else 'z:.4~g'}}}<extra></extra>",
    }  # fmt: skip
    if log:
        trace["customdata"] = [[_rounded(v) for v in row] for row in values]
    axis = {"automargin": True, "zeroline": False, "showgrid": False}
    layout: dict[str, Any] = {
        "title": {"text": plain(item.title)},
        "xaxis": axis
        # Beside the bar of colours, plotly's own margin comes out too small for a title.
        | {"automargin": named, "ticks": "outside", "title": {"text": plain(item.x)}}
        | {"type": "category" if named else "linear"},
        "yaxis": axis
        | {"type": "category", "autorange": "reversed", "tickvals": names, "ticktext": [*map(plain, labels(item.rows))]}
        | {"ticks": "", "tickfont": {"size": 11 if len(names) <= 60 else 10}},
        "annotations": [],
        "meta": {"heat": True, "height": round(16 * height(item))},
    }
    if not any(p is not None for row in places for p in row):
        layout["annotations"].append({"text": "no value to draw", "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5})
        layout["annotations"][0] |= {"showarrow": False}
        trace["showscale"] = False
    cells = len(item.rows) * len(columns), len(item.rows) * len(item.columns)
    return {"data": [trace], "layout": layout, "legend": [], "drawn": cells[0], "total": cells[1]}


def height(item: Heat) -> float:
    """Of the figure, in rem: what surrounds the cells, and a line a row."""
    n = len(item.rows)
    return 8 + n * (1.5 if n <= 12 else 1.1 if n <= 60 else 0.85)


def ends(item: Heat) -> tuple[float, float]:
    """Where the colours begin and end: on a logarithmic scale, in powers of ten."""
    log = item.scale == "log"
    found = [p for row in item.values for v in row if (p := _place(v, log)) is not None]
    if not found:
        return 0.0, 1.0
    low, high = min(found), max(found)
    if item.scale == "diverging":
        high = max(abs(low), abs(high)) or 1.0
        return -high, high
    if low == high:
        room = 0.5 if log else abs(low) / 2 or 0.5
        return low - room, high + room
    return low, high


def drawn(item: Heat) -> tuple[list[Any], list[list[float]]]:
    """The columns drawn and their values: where there are too many, of each run of them what is farthest from 0.

    On a logarithmic scale, the greatest.
    """
    n = len(item.columns)
    if n <= COLUMNS:
        return list(item.columns), [list(row) for row in item.values]
    starts = np.unique(np.linspace(0, n, COLUMNS, endpoint=False).astype(int))
    columns = [item.columns[i] for i in starts]
    stops = [*starts[1:], n]
    return columns, [[_farthest(row[a:b]) for a, b in zip(starts, stops, strict=True)] for row in item.values]


def labels(rows: Sequence[str]) -> list[str]:
    """The names without the dotted beginning that all share, and cut in the middle where they are long."""
    parts = [r.split(".") for r in rows]
    shared = 0
    while len(rows) > 1 and all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return [_cut(".".join(p[shared:])) for p in parts]


def _cut(name: str) -> str:
    if len(name) <= LONGEST:
        return name
    tail = LONGEST * 3 // 5
    return f"{name[: LONGEST - tail - 1]}…{name[-tail:]}"


def _scale(colours: Sequence[str]) -> list[list[Any]]:
    return [[i / (len(colours) - 1), c] for i, c in enumerate(colours)]


def _bar(item: Heat, low: float, high: float) -> dict[str, Any]:
    # On top, where it takes no width from the cells of a narrow screen.
    bar: dict[str, Any] = {
        "orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "thickness": 9, "ypad": 6,
        "xpad": 0, "lenmode": "fraction", "len": 1, "outlinewidth": 0, "ticks": "outside", "ticklen": 3,
        "title": {"text": plain(item.unit), "side": "top", "font": {"size": 11}}, "tickfont": {"size": 11},
        "exponentformat": "power", "nticks": 5, "tickangle": 0,
    }  # fmt: skip
    if item.scale == "log":
        at = log_ticks(low, high)
        bar |= {"tickvals": [math.log10(v) for v in at], "ticktext": [number(v).replace("1×10", "10") for v in at]}
    return bar


def log_ticks(low: float, high: float) -> list[float]:
    """At most seven round numbers between 10^low and 10^high."""
    decades = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    if len(decades) >= 3:
        return [10.0**k for k in decades][:: math.ceil(len(decades) / 6)]
    steps = (1, 2, 5) if high - low > 0.7 else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    found = [s * 10.0**k for k in range(math.floor(low), math.ceil(high) + 1) for s in steps]
    inside = [v for v in found if low - 1e-9 <= math.log10(v) <= high + 1e-9]
    return inside[:: max(1, math.ceil(len(inside) / 7))] or [10.0**low, 10.0**high]


def _place(v: float, log: bool) -> float | None:
    if not finite(v) or (log and v <= 0):
        return None
    return _rounded(math.log10(v) if log else v)


def _rounded(v: float) -> float | None:
    return float(f"{v:.5g}") if finite(v) else None


def _farthest(values: Sequence[float]) -> float:
    found = [v for v in values if finite(v)]
    return max(found, key=abs) if found else math.nan
