"""The page of a watched run: its training curves, every instrument with its error and caveat, and what it cost."""

import ast
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adamantine import listing
from adamantine.finding import Figure, Findings, Heat, Table, finite
from adamantine.report import page
from adamantine.report.number import number
from adamantine.result import Result
from adamantine.store import Spec, Store, StoreError
from adamantine.watching.figures import Named, figures, gathered
from adamantine.watching.journal import INTERRUPTED, interrupted

ORACLES = {
    "loss": "loss",
    "grad": "gradient",
    "hvp": "Hessian product",
    "ggn_vp": "Gauss-Newton product",
    "each_grad": "gradients of single examples",
    "each_grad_norm": "gradient norms of single examples",
    "each_norm": "gradient norms of single examples",
    "each_gram": "inner products of examples' gradients",
}
BOUNDS = {"lower": "A lower bound.", "upper": "An upper bound.", "unbiased": "Unbiased."}


def watched(store: Store) -> list[tuple[Result, Spec]]:
    """The watched runs of the store, the earliest first; of one that was not closed, what its journal has."""
    done = [(r, store.spec(r.key)) for r in store.results() if "measurements" in r.provenance]
    keys = {r.key for r, _ in done}
    found = done + [(r, s) for r, s in interrupted(store) if r.key not in keys]
    return sorted(found, key=lambda x: str(x[0].provenance.get("started", "")))


def find(store: Store, wanted: str) -> tuple[Result, Spec]:
    """The watched run whose key starts with `wanted`, or the latest of that name. StoreError where there is none."""
    runs = watched(store)
    found = [x for x in runs if x[0].key.startswith(wanted)]
    if len(found) > 1:
        raise StoreError(f"several watched runs start with {wanted!r}: {', '.join(r.key for r, _ in found[:5])}.")
    found = found or [x for x in runs if name_of(x[0]) == wanted]
    if not found:
        raise StoreError(
            f"in the store {str(store.path)!r} no watched run has the key or the name {wanted!r}; `adamantine watched` "
            "lists them."
        )
    return found[-1]


def report(store: Store, key: str, command: str | None = None) -> Path:
    """Write the page of the watched run `key` (or the beginning of one, or a name) and return where it is."""
    result, spec = find(store, key)
    out = store.path / "reports" / f"watch-{result.key}" / "index.html"
    facts, found = result.provenance, gathered(result.rows)
    captions = captions_of(facts.get("probes", ()))
    items: list[Figure | Heat | Table] = [*figures(found, captions, facts.get("tensors", ()), result.key)]
    items += [t for t in (lasts(found, captions, result.key), costs(facts, result.key)) if t.rows]
    runs = {result.key: {"spec": spec.run, "status": result.status, "seconds": facts.get("seconds")}}
    out.parent.mkdir(parents=True, exist_ok=True)
    return page.write(
        name_of(result),
        f"Trained by {facts.get('optimizer', spec.optimizer)}.",
        Findings(answer(result), (), notes(facts)),
        items,
        out,
        command=command or f"adamantine watched {result.key} --store {store.path}",
        runs=runs,
    )


def name_of(result: Result) -> str:
    """What the user called the run, or its key."""
    return str(result.provenance.get("name") or result.key)


def answer(result: Result) -> str:
    """What was watched, in words."""
    facts = result.provenance
    if not facts:
        return "The program ended before it had told what was watched; its numbers are below."
    optimizer = str(facts["optimizer"]).partition("(")[0]
    said = (
        f"{facts['model']}, {_million(facts['parameters'])} parameters in {number(len(facts['tensors']))} tensors, was "
        f"trained by {optimizer} for {number(facts['steps'])} steps and measured at {number(facts['measurements'])} of "
        f"them. Watching took {_percent(facts['spent'])} of the {_seconds(facts['seconds'])}."
    )
    if result.status == INTERRUPTED:
        said += " The watch is not closed: the program was interrupted, or is still going."
    return said


def notes(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What was strange, and what was unavailable and why."""
    found = [str(x) for x in facts.get("notes", ())]
    for probe, x in facts.get("unavailable", {}).items():
        end = " It was not tried again." if x.get("given_up") else ""
        found.append(f"{probe} was unavailable from step {x['step']}: {x['why']}{end}")
    return tuple(found)


def lasts(found: Mapping[str, Named], captions: Mapping[str, str], key: str) -> Table:
    """The last value of every number, those by tensor aside, with its error."""
    rows = []
    for n in found.values():
        each = [n, *(n.inside.values() if len(n.inside) <= 6 else ())]
        for one in (x for x in each if x.values):
            step = max(one.values)
            what = captions.get(n.name, "recorded by the loop").partition("\n")[0]
            rows.append((one.name, one.values[step], one.errors.get(step, float("nan")), step, what))
    columns = ("number", "last value", "error", "at step", "what it is")
    caption = "One standard error, or the bound that the instrument gives; a dash where it gives none."
    return Table("Last values", caption, columns, tuple(rows), (key,))


def costs(facts: Mapping[str, Any], key: str) -> Table:
    """What each instrument cost."""
    whole = facts.get("seconds") or float("nan")
    rows = []
    for probe, x in facts.get("costs", {}).items():
        calls, seconds = int(x["calls"]), float(x["seconds"])
        rows.append((probe, calls, seconds, seconds / max(1, calls), 100 * seconds / whole))
    columns = ("instrument", "measured", "seconds", "seconds each", "% of the time")
    caption = "The first measurement is dearer than those after it. What instruments share is charged to the first."
    return Table("What it cost", caption, columns, tuple(rows), (key,))


def captions_of(calls: Sequence[str]) -> dict[str, str]:
    """What every number is and when it misleads, from the instruments' own words; the units end at a line break."""
    found: dict[str, str] = {}
    for call in calls:
        probe = instrument(call)
        if probe is None:
            found.setdefault(call.partition("(")[0], f"Measured by {call}.")
            continue
        bound, caveat = BOUNDS.get(getattr(probe, "bound", ""), ""), getattr(probe, "caveat", "")
        for name, unit in probe.units.items():
            said = (bound, caveat, f"Costs at most {cost_of(probe)}.")
            found.setdefault(name, f"{unit}\n{' '.join(x for x in said if x)}")
    return found


def instrument(call: str) -> Any:
    """The instrument that a constructor call of literals makes, as stored, without evaluating it; None for another."""
    classes = {e.name: e.module for kind in ("probes", "assumptions") for e in listing.entries(kind)}
    name = call.partition("(")[0]
    if name not in classes:
        return None
    kind = getattr(importlib.import_module(classes[name]), name)
    try:
        node = ast.parse(call, mode="eval").body
        given = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}  # pyright: ignore
        probe = kind(**given)
    except (ValueError, TypeError, SyntaxError, AttributeError):
        try:
            probe = kind()
        except (ValueError, TypeError):
            return None
    return probe if hasattr(probe, "units") else None


def cost_of(probe: Any) -> str:
    """An instrument's cost in words."""
    cost = getattr(probe, "cost", {})
    return ", ".join(f"{n} × {ORACLES.get(k, k)}" for k, n in cost.items() if n) or "no gradient"


def _million(n: int) -> str:
    return f"{n / 1e6:.3g} million" if n >= 1e6 else number(n)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if finite(share) else "an unknown share"


def _seconds(s: float) -> str:
    return f"{s:.3g} s" if s < 120 else f"{s / 60:.3g} min"
