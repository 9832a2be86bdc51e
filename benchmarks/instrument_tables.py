"""Every instrument with its numbers, cost, error and caveat, read off the classes, as the page docs/instruments.md.

    python benchmarks/instrument_tables.py [--write]

Prints the page, or writes it. Which numbers come with an error, and which by tensor, is found by measuring a quadratic.
"""

import argparse
import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any

from adamantine import listing, tree
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.point import Point, stream
from adamantine.tasks.quadratic import Quadratic
from adamantine.watching.page import cost_of

PAGE = Path(__file__).parents[1] / "docs" / "instruments.md"
HEAD = """# Instruments

What can be measured of a training run, in a `Run` (`probes=(Sharpness(),)`) or on a loop of your own
(`adamantine.watch`). Read off the classes:

    python benchmarks/instrument_tables.py --write    # reads all of them again and writes this page

The cost is the most that a measurement with the default settings asks for. A Hessian product takes one to two and a
half gradients, once its graph is built. `name_error` is one standard error, or the bound that the instrument's
documentation tells of; `name/tensor` is the number of one tensor. All about one: `adamantine list probes NAME`.
"""
BOUND = {
    "exact": "exact, up to its error",
    "lower": "a lower bound",
    "upper": "an upper bound",
    "unbiased": "an unbiased estimate",
}


def instruments() -> list[tuple[listing.Entry, Any]]:
    """Every probe with its default settings."""
    found = []
    for entry in listing.entries("probes"):
        kind = getattr(importlib.import_module(entry.module), entry.name)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and hasattr(kind, "units"):
            found.append((entry, kind()))
    return found


def point() -> Point:
    """A point of a quadratic in a matrix and a vector, with the update that Adam takes from there."""
    task = Quadratic((3.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02), "random", matrix=(3, 2))
    w = task.init(stream(0, "init"))
    p = Point(task, w, tree.place(task.source(stream(0, "data"))(w), "cpu"))
    optimizer = Ema() >> Rms() >> Lr(0.01)
    return p.after(*optimizer.update(p.grad, optimizer.init(w), p), optimizer)


def shape(probe: Any) -> dict[str, set[str]]:
    """What else there is of each number: "error", "by tensor"; nothing where the quadratic cannot be measured."""
    p = point()
    try:
        out = probe(p)
    except ValueError:
        return {}
    names = set(out) if isinstance(out, dict) else set()
    found: dict[str, set[str]] = {}
    for name in probe.units:
        own = {n for n in names if n.partition("/")[0] in (name, f"{name}_error")}
        errors = {n for n in own if "_error" in n}
        found[name] = ({"error"} if errors else set()) | (
            {"by tensor"} if {f"{name}/{k}" for k in p.w} & own else set()
        )
    return found


def section(entry: listing.Entry, probe: Any) -> str:
    """All about one instrument."""
    more = shape(probe)
    lines = [f"## {entry.name}", "", entry.what, ""]
    for name, unit in probe.units.items():
        extra = f" ({', '.join(sorted(more[name], key=len))})" if more.get(name) else ""
        lines.append(f"- `{name}`{extra}: {unit}")
    lines += [
        "",
        f"*Asks for at most*: {cost_of(probe)}. *It is* {BOUND[getattr(probe, 'bound', 'exact')]}.",
        "",
        f"*Misleads*: {probe.caveat}",
        "",
        f"`from {entry.module} import {entry.name}`",
        "",
    ]
    return "\n".join(lines)


def summary() -> str:
    """A line an instrument."""
    lines = ["| instrument | numbers | asks for at most | it is | error | source |", "|---|---|---|---|---|---|"]
    for entry, probe in instruments():
        errors = [n for n, x in shape(probe).items() if "error" in x]
        cells = (
            f"[{entry.name}](#{entry.name.lower()})",
            ", ".join(f"`{n}`" for n in probe.units),
            cost_of(probe),
            BOUND[getattr(probe, "bound", "exact")],
            "yes" if errors else "–",
            entry.source or "–",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, summary(), *(section(*x) for x in instruments())])


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true", help="write docs/instruments.md instead of printing")
    if options.parse_args().write:
        PAGE.write_text(page())
        print(f"written: {PAGE}")
    else:
        sys.stdout.write(page())
