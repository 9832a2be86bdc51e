"""The command `adamantine watched`: what was watched into a store, and its pages."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adamantine.report.number import number
from adamantine.result import Result
from adamantine.store import Spec, Store, StoreError
from adamantine.watching.journal import INTERRUPTED
from adamantine.watching.page import name_of, report
from adamantine.watching.page import watched as runs


def watched(
    key: str | None = None,
    *,
    store: Annotated[Path, Parameter(help="Folder of the results.")] = Path("adamantine-store"),
) -> int:
    """List the watched runs of a store, or write the page of the one whose key begins with, or whose name is, KEY."""
    console, place = Console(), Store(store)
    if key is None:
        found = runs(place)
        console.print(sheet(found) if found else f"No watched run is in the store {str(store)!r}.", soft_wrap=not found)
        return 0
    try:
        out = report(place, key)
    except OSError as error:
        raise StoreError(f"the page could not be written to {str(store)!r} ({error.strerror}).") from error
    console.print(f"The page: {out.resolve()}", soft_wrap=True)
    return 0


def sheet(found: list[tuple[Result, Spec]]) -> Table:
    """A line a run: key and name, what was trained how, how far, when, and whether it was closed."""
    out = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("key", "name", "model", "optimizer", "steps", "when", ""):
        out.add_column(column, overflow="fold", no_wrap=column == "key")
    for result, spec in found:
        facts = result.provenance
        cells = (
            result.key,
            name_of(result),
            str(facts.get("model", spec.task)),
            str(facts.get("optimizer", spec.optimizer)).partition("(")[0],
            number(spec.steps),
            str(facts.get("started", "")).partition("+")[0].replace("T", " "),
            "interrupted, or going on" if result.status == INTERRUPTED else result.status,
        )
        out.add_row(*map(Text, cells))
    return out
