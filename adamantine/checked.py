"""The command `adamantine check`: which assumptions hold on one's own model, along its training."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adamantine.checking.check import Check, chosen, findings, items
from adamantine.checking.judge import HOLDS, VIOLATED
from adamantine.claim import Asked, ClaimError
from adamantine.engine import cores, execute
from adamantine.module import FileError, load_file
from adamantine.optim.adam import adam
from adamantine.part import Part
from adamantine.point import Task, stream
from adamantine.progress import Watch
from adamantine.report import page
from adamantine.report.number import rounded
from adamantine.result import Result, Results
from adamantine.store import Store, StoreError
from adamantine.stored import STORE, StorePath
from adamantine.tasks.module import ModuleTask

COLOUR = {HOLDS: "green", VIOLATED: "red"}


def check(
    model: str,
    *,
    only: Annotated[tuple[str, ...], Parameter(help="Names of assumptions; cheap ones when not given.")] = (),
    steps: Annotated[int, Parameter(help="Steps of training.")] = 200,
    points: Annotated[int, Parameter(help="How often to measure.")] = 8,
    seeds: Annotated[int, Parameter(help="Runs, from which intervals are taken.")] = 3,
    store: StorePath = STORE,
    jobs: Annotated[int | None, Parameter(help="Worker processes; as many as cores when not given.")] = None,
    device: Annotated[str, Parameter(help="cpu, cuda, ...")] = "cpu",
) -> int:
    """Check assumptions on MODEL, a .py file that defines `task`, or `build`, `loss` and `batches`.

    It is trained by the file's `optimizer`, or Adam; a page tells for every assumption whether it holds along this
    training, with which constant, and what that means for which optimizer.
    """
    console, place = Console(), Store(store)
    try:
        file = load_file(model)
    except FileError as error:
        raise ClaimError(str(error)) from error
    task, optimizer = _task(model, file), _optimizer(model, file)
    try:
        wanted = chosen(only, len(task.init(stream(0, "init"))))
        plan = Check(task, optimizer, wanted, steps, points, seeds)
        refusals = plan.refusals()
    except ValueError as error:
        raise ClaimError(str(error)) from error
    runs = plan.runs(tuple(refusals))
    place.check()
    results = Results(r for r in place.results() if r.finished)
    missing = {results.key(r): r for r in runs if results.get(r) is None}
    if missing:
        with Watch(console, len(missing)) as watch:
            watch.see(Asked(missing))
            for event in execute([*missing.items()], place, jobs or cores(), device, files=(Path(str(file.__file__)),)):
                watch.see(event)
                if isinstance(event, Result) and event.finished:
                    results.add(event)
        if watch.failed:
            raise ClaimError(f"{watch.failed} runs failed: `adamantine show KEY` prints why.")
    told = findings(plan, runs, results, refusals)
    folder = place.path / "reports" / f"check-{Path(model).stem}"
    first, rest = (
        f"Which assumptions hold for {Path(model).name}?",
        f"The task: {task!r}. The optimizer: {optimizer!r}.",
    )
    listed = {
        results.key(r): {"spec": repr(r), "status": f.status, "seconds": f.provenance.get("seconds")}
        for r in runs
        if (f := results.get(r))
    }
    try:
        out = page.write(
            first, rest, told, items(plan, runs, results, refusals), folder / "index.html",
            command=_command(model, only, steps, points, seeds, device), runs=listed,
        )  # fmt: skip
    except OSError as error:
        raise StoreError(f"the page could not be written to {str(folder)!r} ({error.strerror}).") from error
    console.print(sheet(plan, runs, results, refusals))
    for note in told.notes:
        console.print(Text(f"note: {note}", style="dim"))
    console.print(f"\nThe page: {out.resolve()}", soft_wrap=True)
    return 0


def _command(model: str, only: tuple[str, ...], steps: int, points: int, seeds: int, device: str) -> str:
    """What makes the page again."""
    words = ["adamantine check", model, *(f"--only {name}" for name in only)]
    words += [f"--steps {steps} --points {points} --seeds {seeds}"]
    return " ".join(words if device == "cpu" else [*words, f"--device {device}"])


def sheet(plan: Check, runs: list[Any], results: Results, refusals: dict[str, str]) -> Table:
    """A line an assumption."""
    out = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("assumption", "verdict", "constant", "why"):
        out.add_column(column, overflow="fold")
    for x in plan.assumptions:
        name = type(x).__name__
        if name not in refusals:
            j = plan.judged(name, runs, results)
            value, low, high = rounded(j.constant, j.low, j.high)
            out.add_row(
                name, Text(j.verdict, style=COLOUR.get(j.verdict, "yellow")), f"{value} ({low} to {high})", j.why
            )
    return out


def _task(model: str, file: Any) -> Task:
    found = getattr(file, "task", None)
    if found is None and all(callable(getattr(file, k, None)) for k in ("build", "loss", "batches")):
        named = {k: getattr(file, k) for k in ("build", "loss", "batches", "evaluate") if hasattr(file, k)}
        try:
            found = ModuleTask(**named)
        except (TypeError, ValueError) as error:
            raise ClaimError(str(error)) from error
    if not isinstance(found, Task):
        raise ClaimError(
            f"{model!r} defines no task; give it `task = ModuleTask(build, loss, batches)`, or functions build, loss "
            "and batches at its top."
        )
    return found


def _optimizer(model: str, file: Any) -> Part:
    found = getattr(file, "optimizer", None) or adam(1e-3)
    if not isinstance(found, Part):
        raise ClaimError(f"{model!r}: optimizer is {found!r}; give a composition of parts, such as adam(1e-3).")
    return found
