"""A `Figure` as plotly's JSON: traces and layout, thinned, escaped, with gaps, bands and marks of divergence."""

import math
from collections.abc import Mapping
from typing import Any

from adamantine.finding import Curve, Figure, finite
from adamantine.report.palette import group_of, strokes
from adamantine.report.sideways import plain, turn, turned
from adamantine.report.thin import thin

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star", "pentagon", "hexagon")
PER_CURVE, PER_FIGURE = 400, 24_000
NAMED = 16  # more curves than this are named in the legend by group
FEW = 12  # points up to which each is marked
REACH = 1.0  # how far beyond its lines, in their own heights, a figure first shows its bands


def marks_of(curve: Curve) -> list[Any]:
    """Where the curve diverged: its marks, and the first x of every stretch of infinite y."""
    found = list(curve.marks)
    for i, y in enumerate(curve.y):
        if _infinite(y) and (i == 0 or not _infinite(curve.y[i - 1])) and curve.x[i] not in found:
            found.append(curve.x[i])
    return found


def stretches(curve: Curve, x: list[Any]) -> list[list[int]]:
    """Indices of the consecutive points where x, low and high can be drawn: the pieces of its band."""
    pieces: list[list[int]] = [[]]
    for i, at in enumerate(x):
        if (isinstance(at, str) or finite(at)) and finite(curve.low[i]) and finite(curve.high[i]):
            pieces[-1].append(i)
        elif pieces[-1]:
            pieces.append([])
    return [p for p in pieces if p]


def checked(curve: Curve) -> Curve:
    """The curve, or ValueError where its columns differ in length or its style is unknown."""
    if any(len(v) not in (len(curve.x), 0) for v in (curve.low, curve.high)) or len(curve.y) != len(curve.x):
        raise ValueError(f"Curve {curve.name!r}: x, y, low and high must have one value per point.")
    if bool(curve.low) != bool(curve.high):
        raise ValueError(f"Curve {curve.name!r}: a band needs both low and high.")
    if curve.style not in ("line", "dash", "points", "bar"):
        raise ValueError(f"Curve {curve.name!r}: style {curve.style!r} is not line, dash, points or bar.")
    return curve


def spec(item: Figure, colour: Mapping[str, str]) -> dict[str, Any]:
    """`{"data", "layout", "legend", "drawn", "total"}`: the first two are a valid plotly figure.

    `colour` maps groups to colours (see `palette.colours`); `drawn` of `total` points are in the traces.
    """
    many = len(item.curves) > NAMED
    limit = max(50, min(PER_CURVE, PER_FIGURE // max(1, len(item.curves))))
    order, stroke = list(colour), strokes(item, colour)
    bands, lines, legend, total, drawn = [], [], {}, 0, 0
    taken: dict[Any, int] = {}
    for curve in map(checked, item.curves):
        group = group_of(curve)
        label = group if many else curve.name
        tint, symbol = colour[group], SYMBOLS[order.index(group) % len(SYMBOLS)]
        style = stroke[group] if curve.style == "line" else curve.style
        entry = f"{label}/{style}" if many else f"{label}/{len(legend)}"
        kept = _kept(curve, item, limit)
        total, drawn = total + len(curve.x), drawn + len(kept.x)
        shared = {"legendgroup": plain(entry), "name": plain(curve.name)}
        main = shared | {
            "x": [_number(v, 8) for v in kept.x],
            "y": [_number(v) for v in kept.y],
            "showlegend": entry not in legend,
            "hovertemplate": "%{fullData.name}<br>%{x}, %{y}<extra></extra>",
            "meta": {"name": curve.name, "group": curve.group, "label": plain(label)}
            | ({"low": [_number(v) for v in kept.low], "high": [_number(v) for v in kept.high]} if kept.low else {}),
        }
        legend.setdefault(entry, (label, tint, style, symbol, plain(entry)))
        lines.append(main | _look(kept, tint, symbol, style))
        if kept.low and curve.style in ("line", "dash"):
            bands.append(shared | _band(kept, item, tint))
        marks = marks_of(curve)
        if marks:
            heights = []
            for at in marks:
                heights.append(max(0.05, 0.975 - 0.05 * taken.get(at, 0)))
                taken[at] = taken.get(at, 0) + 1
            lines.append(shared | _marks(curve, marks, heights, tint))
    data, layout = bands + lines, _layout(item, bool(taken))
    if turned(item):
        data, layout = turn(data, layout)
    return {"data": data, "layout": layout, "legend": list(legend.values()), "drawn": drawn, "total": total}


def positive(item: Figure, axis: str) -> bool:
    """Whether every drawable value along `axis` ("x" or "y") is above 0, so that a log axis hides nothing."""
    kinds = ("x",) if axis == "x" else ("y", "low", "high")
    values = [v for c in item.curves for kind in kinds for v in getattr(c, kind) if finite(v)]
    return bool(values) and all(v > 0 for v in values)


def _kept(curve: Curve, item: Figure, limit: int) -> Curve:
    if item.x_scale == "category" or curve.style == "bar" or len(curve.x) <= limit:
        return curve
    at = thin(curve.x, curve.y, limit, low=curve.low, high=curve.high, log=item.x_scale == "log")
    low, high = ([v[i] for i in at] if v else [] for v in (curve.low, curve.high))
    return Curve(curve.name, [curve.x[i] for i in at], [curve.y[i] for i in at], low, high, curve.group, curve.style)


def _look(curve: Curve, tint: str, symbol: str, style: str) -> dict[str, Any]:
    error = {}
    if curve.low and curve.style in ("bar", "points"):
        gaps = [(_gap(y, low), _gap(high, y)) for y, low, high in zip(curve.y, curve.low, curve.high, strict=True)]
        error["error_y"] = {
            "type": "data", "symmetric": False, "thickness": 1.3, "width": 4,
            "arrayminus": [g[0] for g in gaps], "array": [g[1] for g in gaps],
        }  # fmt: skip
    if curve.style == "bar":
        return {"type": "bar", "marker": {"color": tint}} | error
    marker = {"color": tint, "size": 7, "symbol": symbol}
    if curve.style == "points":
        return {"type": "scatter", "mode": "markers", "marker": marker} | error
    line = {"color": tint, "width": 2 if len(curve.x) < 100 else 1.6, "dash": style.replace("line", "solid")}
    mode = "lines+markers" if len(curve.x) <= FEW else "lines"
    return {"type": "scatter", "mode": mode, "line": line, "marker": marker | {"size": 5}}


def _band(curve: Curve, item: Figure, tint: str) -> dict[str, Any]:
    # A logarithmic axis has no place for a lower end of 0 or less: such a band ends at the least value drawn.
    floor = -math.inf
    if item.y_scale == "log":
        floor = min((v for c in item.curves for v in (*c.y, *c.low, *c.high) if finite(v) and v > 0), default=0.0)
    xs, ys = [], []
    for piece in stretches(curve, curve.x):
        there = [_number(curve.x[i], 8) for i in piece]
        xs += [*there, *reversed(there), None]
        ys += [_number(max(curve.high[i], floor)) for i in piece]
        ys += [*(_number(max(curve.low[i], floor)) for i in reversed(piece)), None]
    r, g, b = (int(tint[i : i + 2], 16) for i in (1, 3, 5))
    return {
        "type": "scatter", "mode": "lines", "x": xs, "y": ys, "fill": "toself", "hoverinfo": "skip",
        "line": {"width": 0}, "fillcolor": f"rgba({r},{g},{b},0.17)", "showlegend": False,
    }  # fmt: skip


def _marks(curve: Curve, at: list[Any], heights: list[float], tint: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "yaxis": "y2", "showlegend": False, "cliponaxis": False,
        "x": [_number(v, 8) for v in at], "y": heights, "meta": {"name": curve.name, "diverged": True},
        "marker": {"symbol": "triangle-up-open", "size": 10, "color": tint, "line": {"width": 2, "color": tint}},
        "hovertemplate": "%{fullData.name}<br>diverged at %{x}<extra></extra>",
    }  # fmt: skip


def _layout(item: Figure, marked: bool) -> dict[str, Any]:
    def axis(title: str, scale: str) -> dict[str, Any]:
        found = {"automargin": True, "zeroline": False, "ticks": "outside", "exponentformat": "power"}
        found |= (
            {"dtick": 1} if scale == "category" else {"nticks": 4 if scale == "log" else 8}
        )  # every name is written
        # Left alone, a logarithmic axis writes 10⁻¹ large and the 2 and 5 between small; and more ticks, every digit.
        found |= {"tickformat": "~g"} if scale == "log" else {}
        return found | {"title": {"text": plain(title)}, "type": scale}

    layout: dict[str, Any] = {
        "title": {"text": plain(item.title)}, "xaxis": axis(item.x, item.x_scale), "yaxis": axis(item.y, item.y_scale),
        "annotations": [],
    }  # fmt: skip
    if seen := _range(item):
        layout["yaxis"]["range"] = seen
    if marked:
        layout["yaxis2"] = {"overlaying": "y", "range": [0, 1], "fixedrange": True, "visible": False}
        layout["annotations"].append(_note("△ diverged", 0, "left", 1.0, "bottom"))
    if not any(finite(v) for c in item.curves for v in c.y):
        layout["annotations"].append(_note("no finite value to draw", 0.5, "center", 0.5, "middle"))
    return layout


def _range(item: Figure) -> list[float] | None:
    """Where the y axis begins and ends when a band would dwarf the lines; None where plotly's choice is right."""

    def place(v: float) -> float:
        return math.log10(v) if item.y_scale == "log" else v

    def places(kind: str) -> list[float]:
        values = (v for c in item.curves if c.style in ("line", "dash") for v in getattr(c, kind))
        return [place(v) for v in values if finite(v) and (v > 0 or item.y_scale != "log")]

    if item.y_scale == "category" or any(c.style in ("bar", "points") for c in item.curves):
        return None
    lines, bands = places("y"), [*places("low"), *places("high")]
    if not lines or not bands or max(lines) == min(lines):
        return None
    reach = REACH * (max(lines) - min(lines))
    low, high = min(lines) - reach, max(lines) + reach
    if low <= min(bands) and max(bands) <= high:
        return None
    ends = max(low, min(*lines, *bands)), min(high, max(*lines, *bands))
    room = 0.05 * (ends[1] - ends[0])
    return [_number(ends[0] - room), _number(ends[1] + room)]


def _note(text: str, x: float, xanchor: str, y: float, yanchor: str) -> dict[str, Any]:
    return {
        "text": text, "x": x, "y": y, "xref": "paper", "yref": "paper", "showarrow": False,
        "xanchor": xanchor, "yanchor": yanchor,
    }  # fmt: skip


def _number(v: Any, digits: int = 6) -> Any:
    if isinstance(v, str):
        return plain(v)
    if isinstance(v, (bool, int)):
        return int(v)
    return float(f"{float(v):.{digits}g}") if math.isfinite(float(v)) else None


def _gap(above: float, below: float) -> float | None:
    return _number(max(0.0, above - below)) if finite(above) and finite(below) else None


def _infinite(v: Any) -> bool:
    return isinstance(v, float) and v == math.inf
