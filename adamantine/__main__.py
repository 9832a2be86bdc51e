"""The command line: `adamantine run CLAIM` turns a claim into runs, measurements, a verdict and a page."""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import torch
from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from adamantine import catalogue, checked, listing
from adamantine.autodiff.check import check, failed, told
from adamantine.claim import Asked, ClaimError, asked, load, pursue, question
from adamantine.engine import cores
from adamantine.finding import Figure, Finding, Findings, Gallery, Table
from adamantine.module import own_traceback
from adamantine.profiled import profile
from adamantine.progress import Watch, duration
from adamantine.recipes import recipes
from adamantine.report import page, periodic
from adamantine.report.number import rounded
from adamantine.report.palette import colours
from adamantine.report.paper import paper
from adamantine.result import Result, Results
from adamantine.store import Store, StoreError
from adamantine.stored import STORE, StorePath, compact, show
from adamantine.watched import watched

COLOUR = {"supported": "green", "refuted": "red", "inconclusive": "yellow"}

app = App(
    name="adamantine",
    help="A laboratory for the science of deep-learning optimizers.",
    suppress_keyboard_interrupt=False,  # `main` says what becomes of the work
)
for command in (show, compact, watched, profile, checked.check):
    app.command(command)
console = Console()

Scale = Annotated[str, Parameter(help="tiny (seconds), laptop (minutes on two cores) or gpu (hours).")]


@app.command
def run(
    claim: str,
    *,
    scale: Scale = "laptop",
    jobs: Annotated[int | None, Parameter(help="Worker processes; as many as cores when not given.")] = None,
    store: StorePath = STORE,
    device: Annotated[str, Parameter(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> int:
    """Execute the runs that CLAIM (a name or a .py file) still lacks, then give its verdict and write its page."""
    module, place = load(claim), Store(store)
    _check_device(device)
    if jobs is not None and jobs < 1:
        raise ClaimError(f"--jobs {jobs} is not possible; give at least 1.")
    place.check()
    results = _read(place)
    console.print(Text(question(module)[0], style="bold"))
    expected = module.expected(scale) if hasattr(module, "expected") and scale in ("tiny", "laptop", "gpu") else 0
    stored = sum(results.get(r) is not None for r in asked(module, scale, results))
    clock, executed = time.monotonic(), 0
    with Watch(console, max(0, expected - stored)) as watch:
        for event in pursue(module, scale, results, place, jobs or cores(), device):
            executed += isinstance(event, Result)
            if isinstance(event, Asked):
                known = sum(results.get(r) is not None for r in asked(module, scale, results))
                console.print(f"{known} runs known, {len(event.runs)} to execute")
            watch.see(event)
    console.print(f"{executed} runs executed in {duration(time.monotonic() - clock)}")
    if watch.failed:
        raise ClaimError(
            f"{watch.failed} runs failed, so there is no verdict yet: `adamantine show KEY` prints why, and the same "
            "command tries them again."
        )
    return _conclude(module, claim, scale, place, results)


@app.command
def report(
    claim: str,
    *,
    scale: Scale = "laptop",
    store: StorePath = STORE,
    pdf: Annotated[bool, Parameter(help="Also write every figure as PDF and every table as LaTeX.")] = False,
) -> int:
    """Write the page of CLAIM again from the results in the store, without executing anything."""
    module, place = load(claim), Store(store)
    results = _read(place)
    missing = sum(results.get(r) is None for r in asked(module, scale, results))
    if missing:
        raise ClaimError(
            f"{missing} runs are not in the store {str(store)!r}; execute them with: {_command(claim, scale, store)}"
        )
    return _conclude(module, claim, scale, place, results, pdf)


@app.command(name="list")
def list_(
    kind: Literal["claims", "tasks", "parts", "recipes", "probes", "assumptions", "guarantees"],
    name: str | None = None,
    *,
    draw: Annotated[Path | None, Parameter(help="With recipes: also draw their periodic table, as SVG.")] = None,
) -> int:
    """List what there is, with what it is and its source in the literature; all about one of them by its NAME."""
    if name is not None:
        try:
            one, whole = listing.entry(kind, name)
        except ValueError as error:
            raise ClaimError(str(error)) from error
        console.print(Text(f"from {one.module}" if kind == "claims" else f"from {one.module} import {one.name}", "dim"))
        console.print(Text(whole))
        if one.source:
            console.print(Text(f"\nsource: {one.source}", style="dim"))
        return 0
    console.print(catalogue.recipe_sheet() if kind == "recipes" else catalogue.sheet(kind))
    if draw is not None and kind == "recipes":
        draw.write_text(periodic.svg(recipes()))
        console.print(f"drawn: {draw}")
    console.print(Text(f"`adamantine list {kind} NAME` says all about one.", style="dim"))
    return 0


@app.command
def selftest(*, device: str = "cpu") -> int:
    """Check how this machine's torch differentiates through norms and attention; 1 where an instrument is wrong."""
    _check_device(device)
    answers = check(device)
    console.print(catalogue.derivatives(answers), *told(answers, catalogue.askers()), sep="\n", markup=False)
    return int(failed(answers))


def _conclude(module: ModuleType, claim: str, scale: str, store: Store, results: Results, pdf: bool = False) -> int:
    try:
        findings = module.verdict(scale, results)
        items = module.figures(scale, results)
    except Exception as error:
        trace = own_traceback(error, str(module.__file__))
        raise ClaimError(f"the runs are stored, but the claim failed to read them:\n\n{trace}") from error
    if not isinstance(findings, Findings):
        raise ClaimError(
            f"{claim}: verdict gave a {type(findings).__name__}; let it return Findings(answer, (finding,))."
        )
    name = Path(claim).stem
    folder = store.path / "reports" / f"{name}-{scale}"
    wanted = {results.key(r): r for r in asked(module, scale, results)}
    found = {k: (r, results.get(r)) for k, r in wanted.items()}
    runs = {
        k: {"spec": repr(r), "status": f.status, "seconds": f.provenance.get("seconds")}
        for k, (r, f) in found.items()
        if f
    }
    first, rest = question(module)
    command = _command(claim, scale, store.path)
    try:
        out = page.write(first, rest, findings, items, folder / "index.html", command=command, runs=runs)
        if pdf:
            _papers(findings, items, folder / "paper")
    except OSError as error:
        raise StoreError(f"the page could not be written to {str(folder)!r} ({error.strerror}).") from error
    console.print()
    console.print(Text(findings.answer))
    for finding in findings.findings:
        console.print(_lines(finding), soft_wrap=True)
    for note in findings.notes:
        console.print(Text(f"  note: {note}", style="dim"))
    console.print(f"\nThe page: {out.resolve()}", soft_wrap=True)
    return 0


def _papers(findings: Findings, items: Sequence[Figure | Table | Gallery], folder: Path) -> None:
    tint = colours(items)
    for name, item in page.named(findings, items):
        paper(item, folder / f"{name}{'.tex' if isinstance(item, Table) else '.pdf'}", colour=tint)


def _lines(f: Finding) -> Text:
    effect, low, high = rounded(f.effect, *f.interval)
    return Text.assemble(
        (f"{f.verdict:>12}", COLOUR[f.verdict]),
        (f"  {f.task}: " if f.task else "  ", "bold"),
        f"{effect} {f.unit} ({low} to {high}, n = {f.n})\n",
        (f"{'':>12}  {f.statement}", "dim"),
    )


def _read(store: Store) -> Results:
    results = Results(r for r in store.results() if r.finished)
    for trouble in store.troubles:
        console.print(Text(trouble, style="yellow"))
    return results


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ClaimError(f"--device {device} is not there ({str(error).splitlines()[0]}); try cpu.") from error


def _command(claim: str, scale: str, store: Path) -> str:
    words = ["adamantine", "run", claim, "--scale", scale, *([] if store == STORE else ["--store", str(store)])]
    return shlex.join(words)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line on `words`, what the shell gave when None.

    Leaves with 0 for an answer, 1 for a sentence about what is wrong, 130 when interrupted.
    """
    try:
        sys.exit(app(sys.argv[1:] if words is None else words))
    except (ClaimError, StoreError) as error:
        console.print(Text(f"adamantine: {error}", style="red"), soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("\ninterrupted: what is finished is stored, and the same command goes on from there.")
        sys.exit(130)


if __name__ == "__main__":
    main()
