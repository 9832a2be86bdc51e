"""What there is, as tables for the terminal."""

import importlib
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from adamantine import listing
from adamantine.autodiff.check import Answer
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


def derivatives(answers: Sequence[Answer]) -> Table:
    """A line for every mode of differentiation: the relative error through each kernel that it is wrong through."""
    ops = list(dict.fromkeys(a.op for a in answers))
    out = _table(("mode", None), *((op, 9) for op in ops))
    for mode in dict.fromkeys(a.mode for a in answers):
        found = {a.op: a for a in answers if a.mode == mode}
        out.add_row(Text(mode.name, "bold" if mode.own else "dim"), *(_said(found[op]) for op in ops))
    return out


def _said(a: Answer) -> Text:
    if a.refusal:
        return Text("refuses", "yellow")
    if a.error is None:
        return Text("-", "dim")
    return Text(f"{a.error:.2g}", "red") if a.wrong else Text("ok", "green")


def askers() -> dict[str, list[str]]:
    """The probes that ask a point for each oracle, as their `cost` with default settings tells."""
    out: dict[str, list[str]] = {}
    for e in listing.entries("probes"):
        for oracle in getattr(getattr(importlib.import_module(e.module), e.name)(), "cost", {}):
            out.setdefault(oracle, []).append(e.name)
    return out
