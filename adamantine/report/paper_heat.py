"""A heat map for a paper, drawn by matplotlib in the colours of the page."""

from typing import Any

import numpy as np
from matplotlib import colors
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from adamantine.finding import Heat
from adamantine.report.heat import ends, labels, log_ticks
from adamantine.report.palette import DIVERGING, SEQUENTIAL


def heat_map(item: Heat, width: float) -> Canvas:
    """The whole map, every column of it, `width` inches wide and as high as its rows need."""
    n, log = len(item.rows), item.scale == "log"
    canvas = Canvas(figsize=(width, 0.9 + n * (0.16 if n <= 60 else 0.1)), layout="constrained")
    axes = canvas.subplots()
    values = np.array(item.values, dtype=float).reshape(n, len(item.columns))
    shown = np.ma.masked_invalid(np.where(values > 0, values, np.nan) if log else values)
    low, high = ends(item)
    tint = colors.LinearSegmentedColormap.from_list("heat", DIVERGING if item.scale == "diverging" else SEQUENTIAL)
    norm = colors.LogNorm(10.0**low, 10.0**high) if log else colors.Normalize(low, high)
    named = any(isinstance(c, str) for c in item.columns)
    at = np.arange(len(item.columns)) if named else np.array(item.columns, dtype=float)
    axes.set_facecolor("0.8")
    axes.grid(False)
    drawn: Any = axes.pcolormesh(_edges(at), np.arange(n + 1) - 0.5, shown, cmap=tint, norm=norm, rasterized=True)
    axes.set_yticks(range(n), labels(item.rows), fontsize=6 if n <= 60 else 4)
    axes.tick_params(axis="y", length=0)
    if named:
        axes.set_xticks(at, [str(c) for c in item.columns], rotation=45, ha="right")
    axes.invert_yaxis()
    axes.set_xlabel(item.x)
    axes.set_title(item.title, loc="left", fontsize=9)
    bar = canvas.colorbar(drawn, ax=axes, fraction=0.04, pad=0.02, aspect=30)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.set_label(item.unit, fontsize=7)
    if log:  # matplotlib writes powers in its mathematics, which is off
        bar.ax.yaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        bar.ax.yaxis.set_minor_locator(NullLocator())
    return canvas


def _edges(at: np.ndarray) -> np.ndarray:
    """Halfway between the columns, which must ascend."""
    if len(at) < 2:
        return np.array([at[0] - 0.5, at[0] + 0.5]) if len(at) else np.zeros(1)
    middle = (at[1:] + at[:-1]) / 2
    return np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
