"""What there is, as tables for the terminal."""

from rich.table import Table
from rich.text import Text

from adamantine import listing
from adamantine.recipes import recipes


def _table(*columns: tuple[str, int | None]) -> Table:
    out = Table(box=None, pad_edge=False, header_style="bold")
    for name, most in columns:
        out.add_column(name, overflow="fold", max_width=most)
    return out


def sheet(kind: str) -> Table:
    """Everything of one of `listing.KINDS`: its name, what it is, its source."""
    out = _table(("name, import from", 34), ("what", None), ("source", 20))
    for e in listing.entries(kind):
        out.add_row(Text.assemble((f"{e.name}\n", "bold"), (e.module, "dim")), Text(e.what), Text(e.source))
    return out


def recipe_sheet() -> Table:
    """Every recipe as its composition, with the state it keeps on GPT-2 (float32), its symmetry and its source."""
    out = _table(("recipe", 22), ("composition", None), ("bytes a parameter", 9), ("symmetry", 20), ("source", 16))
    for r in recipes():
        name = Text.assemble((f"{r.name}\n", "bold"), (r.module.removeprefix("adamantine."), "dim"))
        out.add_row(name, Text(r.composition), f"{r.bytes:.2f}", Text(r.symmetry), Text(r.source))
    return out
