"""Bars of named things lie on their side, so that names of any length are read."""

import html
import textwrap
from typing import Any

from adamantine.finding import Figure

LINE, LINES = 18, 3  # letters and lines of a name beside its bar; the data has it whole


def plain(text: str) -> str:
    """`text` with the characters escaped that plotly would read as its pseudo-HTML."""
    return " ".join(str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def turned(item: Figure) -> bool:
    """Whether the figure is bars of named things and nothing else."""
    return item.x_scale == "category" and bool(item.curves) and all(c.style == "bar" for c in item.curves)


def turn(data: list[dict[str, Any]], layout: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Plotly's traces and layout with x and y exchanged, the first name on top."""
    names = list(dict.fromkeys(x for trace in data for x in trace["x"]))
    beside = {"autorange": "reversed", "tickvals": names, "ticktext": [_beside(n) for n in names]}
    found = layout | {"xaxis": layout["yaxis"], "yaxis": layout["xaxis"] | beside}
    if second := found.pop("yaxis2", None):
        found["xaxis2"] = second | {"overlaying": "x"}
    return [_turned(trace) for trace in data], found


def _turned(trace: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (
        trace | {"x": trace["y"], "y": trace["x"]} | ({"orientation": "h"} if trace["type"] == "bar" else {})
    )
    found["hovertemplate"] = found["hovertemplate"].replace("%{x}, %{y}", "%{y}, %{x}").replace("at %{x}", "at %{y}")
    if "error_y" in found:
        found["error_x"] = found.pop("error_y")
    if found.pop("yaxis", ""):
        found["xaxis"] = "x2"
    return found | {"meta": found["meta"] | {"turned": True}}


def _beside(name: str) -> str:
    bare = html.unescape(str(name))
    return "<br>".join(map(plain, textwrap.wrap(bare, LINE, max_lines=LINES, placeholder=" …"))) or plain(bare)
