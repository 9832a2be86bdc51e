"""The figure a paper prints: the same item drawn by matplotlib as PDF, SVG or PNG, without a browser."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from adamantine.finding import Curve, Figure, Gallery, Heat, Table, finite
from adamantine.report.export import latex
from adamantine.report.palette import colours, group_of, strokes
from adamantine.report.paper_heat import heat_map
from adamantine.report.sideways import turned
from adamantine.report.trace import FEW, SYMBOLS, checked, marks_of, stretches

# Embedded TrueType as conferences ask; names are words, so "$" in them is a dollar; equal input, equal bytes.
STYLE: Any = {
    "text.parse_math": False, "pdf.fonttype": 42, "ps.fonttype": 42, "svg.hashsalt": "adamantine", "font.size": 8,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "axes.grid": True,
    "grid.color": "0.92", "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.linewidth": 0.6,
}  # fmt: skip
LONGEST_NAME = 40
_DASH = {"line": "-", "points": "none", "dash": "--", "dot": ":", "dashdot": "-."}
_SYMBOL = dict(zip(SYMBOLS, "osD^PXv*ph", strict=True))


def paper(
    item: Figure | Heat | Gallery | Table,
    path: Path,
    *,
    width: float = 5.5,
    colour: Mapping[str, str] | None = None,
) -> Path:
    """Draw `item` at `width` inches into `path` (.pdf, .svg or .png) and return it; a table is written as .tex.

    Give the page's `colour` map (`palette.colours(items)`) for the colours of the page. Raises ValueError for
    another suffix.
    """
    path = Path(path)
    allowed = (".tex",) if isinstance(item, Table) else (".pdf", ".svg", ".png")
    if path.suffix not in allowed:
        raise ValueError(f"paper: {path.name!r} must end in {' or '.join(allowed)} for a {type(item).__name__}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(item, Table):
        path.write_bytes(latex(item).encode("utf-8", "replace"))
        return path
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        if isinstance(item, Heat):
            canvas = heat_map(item, width)
        else:
            canvas = _gallery(item, width) if isinstance(item, Gallery) else _figure(item, width, colour)
        FigureCanvasAgg(canvas)
        when = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}[path.suffix]
        canvas.savefig(path, dpi=300, bbox_inches="tight", metadata=when)
    return path


def _figure(item: Figure, width: float, colour: Mapping[str, str] | None) -> Canvas:
    colour = colours([item]) if colour is None else colour
    stroke = strokes(item, colour)
    canvas = Canvas(figsize=(width, 0.6 * width), layout="constrained")
    axes = canvas.subplots()
    across, up = (axes.yaxis, axes.xaxis) if turned(item) else (axes.xaxis, axes.yaxis)
    places: dict[Any, int] = {}
    if item.x_scale == "category":
        names = dict.fromkeys(x for c in item.curves for x in [*c.x, *marks_of(c)])
        places = {name: i for i, name in enumerate(names)}
        across.set_ticks(range(len(places)), [_short(str(n)) for n in places])
    for axis, scale in ((across, item.x_scale), (up, item.y_scale)):
        if scale == "log":
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log", nonpositive="mask")
    bars = [c for c in item.curves if c.style == "bar"]
    seen: set[str] = set()
    taken: dict[Any, int] = {}
    for curve in map(checked, item.curves):
        group = group_of(curve)
        label = group if len(item.curves) > len(colour) and curve.group else curve.name
        x = [places[v] if places else v for v in curve.x]
        look = {"color": colour[group], "label": _short(label) if label not in seen else "_nolegend_"}
        seen.add(label)
        symbol = _SYMBOL[SYMBOLS[list(colour).index(group) % len(SYMBOLS)]]
        if curve.style == "bar":
            _bar(axes, curve, x, (bars.index(curve), len(bars)), look, turned(item))
        else:
            style = stroke[group] if curve.style == "line" else curve.style
            _line(axes, curve, x, look | {"linestyle": _DASH[style]}, symbol)
        for at in marks_of(curve):
            height = 0.98 - 0.05 * taken.get(at, 0)
            taken[at] = taken.get(at, 0) + 1
            spot = [places[at] if places else at], [height]
            axes.plot(
                *(reversed(spot) if turned(item) else spot), marker="^", markersize=5, clip_on=False, linestyle="none",
                markerfacecolor="none", markeredgecolor=colour[group],
                transform=axes.get_yaxis_transform() if turned(item) else axes.get_xaxis_transform(),
            )  # fmt: skip
    if turned(item):
        axes.invert_yaxis()
    if taken:
        axes.text(1, 1.01, "△ diverged", transform=axes.transAxes, ha="right", va="bottom", fontsize=7)
    across.set_label_text(item.x)
    up.set_label_text(item.y)
    for axis, scale in ((across, item.x_scale), (up, item.y_scale)):
        if scale == "log":
            _log_ticks(axis)
    axes.set_title(item.title, loc="left", fontsize=9)
    if seen:
        room = int(14 * width / (6 + max(map(len, seen))))  # about 14 letters an inch, and each has a handle
        canvas.legend(loc="outside lower center", ncols=max(1, min(4, len(seen), room)), fontsize=7)
    return canvas


def _short(name: str) -> str:
    # Longer names would leave no room for the axes; the data beside the page has them whole.
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _log_ticks(axis: Axis) -> None:
    # Matplotlib writes powers in its mathematics, which STYLE turns off, and labels too few of a short axis.
    low, high = axis.get_view_interval()
    between = (1, 2, 5) if high / low > 8 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    axis.set_major_locator(LogLocator(subs=(1,) if high / low > 1e4 else between, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def _line(axes: Axes, curve: Curve, x: list[Any], look: dict[str, Any], symbol: str) -> None:
    y = np.array([v if finite(v) else np.nan for v in curve.y], dtype=float)
    if curve.style == "points":
        axes.errorbar(x, y, yerr=_reach(curve), fmt=symbol, markersize=4, capsize=2, linewidth=0.9, **look)
        return
    marker = symbol if len(x) <= FEW else ""
    axes.plot(x, y, linewidth=1.2, marker=marker, markersize=3, **look)
    for piece in stretches(curve, x) if curve.low else []:
        there, low, high = ([v[i] for i in piece] for v in (x, curve.low, curve.high))
        axes.fill_between(there, low, high, color=look["color"], alpha=0.17, linewidth=0)


def _bar(axes: Axes, curve: Curve, x: list[Any], rank: tuple[int, int], look: dict[str, Any], turn: bool) -> None:
    wide = 0.8 / rank[1]
    if x and not isinstance(x[0], str) and len(x) > 1:
        wide *= float(np.min(np.diff(np.sort(np.asarray(x, dtype=float))))) or 1.0
    at = [v + (rank[0] - (rank[1] - 1) / 2) * wide for v in x]
    y = np.array([v if finite(v) else np.nan for v in curve.y], dtype=float)
    whiskers: dict[str, Any] = {"capsize": 2, "error_kw": {"linewidth": 0.8}}
    if turn:
        axes.barh(at, y, height=wide, xerr=_reach(curve), **whiskers, **look)
    else:
        axes.bar(at, y, width=wide, yerr=_reach(curve), **whiskers, **look)


def _reach(curve: Curve) -> np.ndarray | None:
    if not curve.low:
        return None
    y, low, high = (np.asarray(v, dtype=float) for v in (curve.y, curve.low, curve.high))
    with np.errstate(invalid="ignore"):
        reach = np.stack([y - low, high - y])
    return np.where(np.isfinite(reach), np.maximum(reach, 0.0), np.nan)


def _gallery(item: Gallery, width: float) -> Canvas:
    columns = max((len(row) for row in item.rows.values()), default=1) or 1
    lines = max(1, len(item.rows))
    canvas = Canvas(figsize=(width, 0.35 + lines * (width / columns + 0.2)), layout="constrained")
    grid = canvas.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, (name, images) in zip(grid, item.rows.items(), strict=False):
        line[0].set_title(name, loc="left", fontsize=7)
        for axes, image in zip(line, images, strict=False):
            axes.imshow(np.asarray(image, dtype=float), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    canvas.suptitle(item.title, fontsize=9)
    return canvas
