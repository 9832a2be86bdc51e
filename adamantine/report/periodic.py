"""The periodic table of optimizers: columns are symmetries, rows the state that is kept; one SVG file.

Both are facts that the tests hold every composition to, so that where a recipe stands is derived and not assigned. The
symmetry is that of what hidden matrices get, where a recipe treats roles differently.
"""

from collections.abc import Sequence
from html import escape

from adamantine.recipes import Recipe
from adamantine.report.palette import PALETTE

COLUMNS = (
    ("rotation", "rotations", "of everything"),
    ("layer rotation", "rotations", "of each tensor"),
    ("row rotation", "rotations", "of each row"),
    ("column rotation", "rotations", "of each column"),
    ("left-right rotation", "rotations", "left and right"),
    ("signed permutation", "signed permutations", "of everything"),
    ("layer signed permutation", "signed permutations", "within a tensor"),
    ("none", "none of these", ""),
)
ROWS = ((0.0, "no state"), (0.5, "below half a byte"), (3.0, "up to 3 bytes"), (4.5, "up to 4.5"), (8.5, "up to 8.5"))
MORE = "more"
TILE, HIGH, GAP, LEFT, TOP = 148, 50, 6, 132, 108
CAPTION = (
    "Column: the largest group that the update of hidden matrices commutes with. "
    "Row: bytes of state (B) a parameter, over the whole of GPT-2 in float32. "
    "States in few bits: symmetry up to rounding."
)
INK, SOFT, LINE, PAPER = "#1c1e21", "#5c6166", "#d4d7da", "#ffffff"


def svg(recipes: Sequence[Recipe]) -> str:
    """The table as SVG text: a tile a recipe, with its bytes a parameter and its source; hovering gives its parts."""
    cells: dict[tuple[int, int], list[Recipe]] = {}
    for r in recipes:
        cells.setdefault((_row(r.bytes), _column(r.symmetry_of_hidden)), []).append(r)
    used = [j for j in range(len(COLUMNS)) if any(c == j for _, c in cells)]
    per = {j: max(1, max((-(-len(x) // 5) for (_, c), x in cells.items() if c == j), default=1)) for j in used}
    widths = {j: per[j] * (TILE + GAP) + GAP for j in used}
    lines = {i: max((-(-len(x) // per[c]) for (r, c), x in cells.items() if r == i), default=0) for i in range(6)}
    heights = {i: n * (HIGH + GAP) + GAP for i, n in lines.items() if n}
    width = LEFT + sum(widths.values()) + GAP
    height = TOP + sum(heights.values()) + 44
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, Helvetica, Arial, sans-serif" fill="{INK}">',
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
        _words(GAP, 26, f"{len(recipes)} optimizers, by symmetry and state", 19, INK, 600),
        _words(GAP, 46, CAPTION, 12.5, SOFT),
    ]
    y = TOP
    for i, high in heights.items():
        label = ROWS[i][1] if i < len(ROWS) else MORE
        out.append(f'<line x1="{GAP}" x2="{width - GAP}" y1="{y}" y2="{y}" stroke="{LINE}"/>')
        out.append(_words(GAP, y + 26, label, 13, INK))
        x = LEFT
        for j in used:
            for n, r in enumerate(cells.get((i, j), [])):
                line, place = divmod(n, per[j])
                out.append(_tile(x + GAP + place * (TILE + GAP), y + GAP + line * (HIGH + GAP), r))
            x += widths[j]
        y += high
    x = LEFT
    for j in used:
        out.append(_words(x + GAP, TOP - 28, COLUMNS[j][1], 12, INK, 600))
        out.append(_words(x + GAP, TOP - 12, COLUMNS[j][2], 12, INK))
        out.append(f'<line x1="{x}" x2="{x}" y1="{TOP - 44}" y2="{y}" stroke="{LINE}"/>')
        x += widths[j]
    out.append(_legend(GAP, y + 26))
    return "\n".join([*out, "</svg>"])


def _row(size: float) -> int:
    return next((i for i, (most, _) in enumerate(ROWS) if size <= most), len(ROWS))


def _column(symmetry: str) -> int:
    names = symmetry.split(" & ")
    return next(i for i, (name, _, _) in enumerate(COLUMNS) if name in names or name == "none")


SHADES = {"one gradient a step": PALETTE[0], "further gradients or products": PALETTE[1]}


def _tile(x: float, y: float, r: Recipe) -> str:
    colour = [*SHADES.values()][r.gradients > 0]
    name = r.name.replace("_", " ")
    source = r.source.split(",")[0].removeprefix("arXiv:").strip()
    size = f"{r.bytes:.2f}".rstrip("0").rstrip(".") or "0"
    letters = min(14, 1.36 * (TILE - 16) / len(name))  # the widest names shrink
    return (
        f"<g><title>{escape(r.composition)}</title>"
        f'<rect x="{x}" y="{y}" width="{TILE}" height="{HIGH}" rx="5" fill="{colour}" fill-opacity="0.10" '
        f'stroke="{colour}" stroke-opacity="0.55"/>'
        f"{_words(x + 8, y + 20, name, letters, INK, 600)}"
        f"{_words(x + 8, y + 38, f'{size} B', 11.5, INK)}"
        f"{_words(x + TILE - 8, y + 38, source[:16], 11, SOFT, end=True)}</g>"
    )


def _legend(x: float, y: float) -> str:
    parts = []
    for kind, shade in SHADES.items():
        parts.append(
            f'<rect x="{x}" y="{y - 11}" width="14" height="14" rx="3" fill="{shade}" fill-opacity="0.10" '
            f'stroke="{shade}" stroke-opacity="0.55"/>{_words(x + 21, y, kind, 12, SOFT)}'
        )
        x += 40 + 7 * len(kind)
    return "".join(parts)


def _words(x: float, y: float, text: str, size: float, colour: str, weight: int = 400, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}"{anchor}>{escape(text)}</text>'
    )
