"""Which colour a curve has: one a group over the whole page, and no two groups of a figure alike while colours last."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from adamantine.finding import Curve, Figure

# Okabe and Ito's palette without its yellow and black, which vanish on paper or in the dark, and three of Tol's.
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
    "#56B4E9", "#8C6BB1", "#A6761D", "#7F7F7F", "#B0446A",
)  # fmt: skip
SHADES = ("#A9C1DB", "#85A7CB", "#6690BC", "#4C7BAB", "#3A6898")  # bars in an order of their own: light to dark

# Heat maps: matplotlib's viridis, and blue to orange through white, or black, at equal steps of OKLab.
SEQUENTIAL = (
    "#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26",
    "#fde725",
)  # fmt: skip
DIVERGING = (
    "#145c97", "#477aaa", "#7298bd", "#9cb6cf", "#c8d5e1", "#f4f4f2", "#e6cdc2", "#d6a794", "#c48066", "#b05a37",
    "#9b2f00",
)  # fmt: skip
DIVERGING_DARK = (
    "#7bbff4", "#669bc5", "#517897", "#3d566b", "#2a3743", "#171a1e", "#3f322c", "#6b4a39", "#9a6446", "#cc7f51",
    "#ff9b5d",
)  # fmt: skip

STROKES = ("line", "dot", "dashdot")


def group_of(curve: Curve) -> str:
    """What decides a curve's colour: its group, or its name where it has none."""
    return curve.group or curve.name


def strokes(item: Figure, colour: Mapping[str, str]) -> dict[str, str]:
    """How the lines of each group are drawn: other than solid where its colour comes again in the figure."""
    rounds: Counter[str] = Counter()
    found = {}
    for group in dict.fromkeys(map(group_of, item.curves)):
        found[group] = STROKES[rounds[colour[group]] % len(STROKES)]
        rounds[colour[group]] += 1
    return found


def colours(items: Iterable[Any]) -> dict[str, str]:
    """One colour per group over all figures among `items`, in order of first appearance.

    A group takes a colour that no group beside it in any figure has, the least used one first. Bars without a
    group are steps of one quantity and take shades of one colour.
    """
    found: dict[str, str] = {}
    figures = [item for item in items if isinstance(item, Figure)]
    beside: dict[str, set[str]] = {}
    for figure in figures:
        groups = dict.fromkeys(map(group_of, figure.curves))
        if 1 < len(groups) <= len(SHADES) and all(c.style == "bar" and not c.group for c in figure.curves):
            step = (len(SHADES) - 1) / (len(groups) - 1)
            found |= {g: SHADES[round(i * step)] for i, g in enumerate(groups) if g not in found}
        for group in groups:
            beside.setdefault(group, set()).update(groups)
    used = Counter(c for c in found.values())
    for group, others in beside.items():
        if group not in found:
            near = Counter(found[other] for other in others if other in found)
            found[group] = min(PALETTE, key=lambda c: (near[c], used[c], PALETTE.index(c)))
            used[found[group]] += 1
    return {group: found[group] for group in beside}
