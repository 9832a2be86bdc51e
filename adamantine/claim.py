"""A claim: a module that asks a question, says which runs would answer it, and reads the answer off them.

    '''The question, in a paragraph, and its source.'''
    def runs(scale, results): ...       # every run it wants, given what is known so far; asked again until no more
    def verdict(scale, results): ...    # Findings
    def figures(scale, results): ...    # Figures, Tables and Galleries

`scale` is "tiny", "laptop" or "gpu". An optional `expected(scale)` says about how many runs there will be in all.
"""

import difflib
import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from adamantine import claims
from adamantine.engine import execute
from adamantine.module import FileError, load_file, own_traceback
from adamantine.result import Result, Results
from adamantine.run import Run
from adamantine.store import Store
from adamantine.work import Progress

SCALES = ("tiny", "laptop", "gpu")
PARTS = ("runs", "verdict", "figures")


class ClaimError(Exception):
    """A claim that cannot be had or does not work; the message is for the user."""


@dataclass(frozen=True)
class Asked:
    """The claim wants these runs, by key, which are not known yet."""

    runs: dict[str, Run]


def names() -> list[str]:
    """The claims that come with the package."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(claims.__path__))


def load(name: str) -> ModuleType:
    """The claim called `name`, or the one in the file `name`. Raises ClaimError with the nearest names."""
    if name.endswith(".py") or "/" in name:
        try:
            module = load_file(name)
        except FileError as error:
            raise ClaimError(str(error)) from error
    elif name.replace("_", "-") in names():
        module = importlib.import_module(f"{claims.__name__}.{name.replace('-', '_')}")
    else:
        near = difflib.get_close_matches(name, names(), 3, 0.4) or names()
        raise ClaimError(f"there is no claim {name!r}; nearest: {', '.join(near)}. A file of your own ends in .py.")
    lacking = [part for part in PARTS if not callable(getattr(module, part, None))]
    if lacking:
        raise ClaimError(f"claim {name!r} lacks {', '.join(lacking)}: a claim defines {', '.join(PARTS)}.")
    if not (module.__doc__ or "").strip():
        raise ClaimError(f"claim {name!r} has no docstring: its first paragraph is the question.")
    return module


def question(claim: ModuleType) -> tuple[str, str]:
    """The claim's question in a line, and the rest of its docstring."""
    first, _, rest = (claim.__doc__ or "").strip().partition("\n\n")
    return " ".join(first.split()), rest.strip()


def asked(claim: ModuleType, scale: str, results: Results) -> tuple[Run, ...]:
    """Every run the claim wants now, each once. Raises ClaimError for an unknown scale or a crash of its own."""
    if scale not in SCALES:
        near = difflib.get_close_matches(scale, SCALES, 1, 0.3) or SCALES
        raise ClaimError(f"scale {scale!r} is not one of {', '.join(SCALES)}; nearest: {near[0]}.")
    try:
        wanted = tuple(dict.fromkeys(claim.runs(scale, results)))
    except Exception as error:
        raise ClaimError(f"`runs` of the claim failed:\n\n{own_traceback(error, str(claim.__file__))}") from error
    strange = [run for run in wanted if not isinstance(run, Run)]
    if strange:
        raise ClaimError(f"`runs` of the claim returned {strange[0]!r}; it returns Runs.")
    return wanted


def pursue(
    claim: ModuleType,
    scale: str,
    results: Results,
    store: Store,
    jobs: int = 1,
    device: str = "cpu",
    checkpoint_every: float = 20.0,
) -> Iterator[Asked | Progress | Result]:
    """Execute what the claim asks for, adding to `results`, until it asks for nothing new.

    A run that fails is not tried again before the next call. Raises ClaimError and StoreError.
    """
    failed: set[str] = set()
    file = Path(str(claim.__file__))
    files: Sequence[Path] = (file,) if claim.__name__.startswith("file_") else ()
    while True:
        wanted = asked(claim, scale, results)
        missing = {k: r for r in wanted if results.get(r) is None and (k := results.key(r)) not in failed}
        if not missing:
            return
        yield Asked(missing)
        for event in execute(interleaved(missing), store, jobs, device, checkpoint_every, files):
            if isinstance(event, Result):
                if event.finished:
                    results.add(event)
                else:
                    failed.add(event.key)
            yield event


def interleaved(runs: dict[str, Run]) -> list[tuple[str, Run]]:
    """The runs, one of each task in turn: the time that remains can then be told from the first few."""
    seen: Counter[Any] = Counter()
    turns = {}
    for key, run in runs.items():
        turns[key] = seen[run.task]
        seen[run.task] += 1
    return sorted(runs.items(), key=lambda item: turns[item[0]])
