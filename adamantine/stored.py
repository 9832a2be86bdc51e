"""The commands `adamantine show` and `adamantine compact`: what lies in a store."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from adamantine.store import Store

STORE = Path("adamantine-store")
StorePath = Annotated[Path, Parameter(help="Folder of the results; made when needed.")]


def show(key: str, *, store: StorePath = STORE) -> int:
    """Show the run whose key starts with KEY: what it was, how it ended, where and when, and its last numbers."""
    console = Console()
    result, spec = Store(store).find(key)
    facts = {"key": result.key, "status": result.status, "run": spec.run, **result.provenance}
    facts.pop("code", None)
    for name, value in facts.items():
        console.print(Text(f"{name:>11}  ", style="dim") + Text(str(value)))
    if result.why:
        console.print(Text(result.why.rstrip(), style="red"))
    last = {r.name: r for r in result.rows}
    for name, row in last.items():
        console.print(Text(f"{name:>11}  ", style="dim") + Text(f"{row.value:.6g} at step {row.step}"))
    return 0


def compact(*, store: StorePath = STORE) -> int:
    """Fold the finished runs of a store into two Parquet files, which pandas, Polars and DuckDB read."""
    place = Store(store)
    place.check()
    Console().print(f"{place.compact()} runs folded into {store / 'compact'}")
    return 0
