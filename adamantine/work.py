"""What executing a run, or a stack of runs, comes to: rows collected, checkpoints kept, results written."""

import hashlib
import multiprocessing
import platform
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from adamantine import checkpoint, stacked
from adamantine.result import DIVERGED, DONE, FAILED, Result
from adamantine.run import Checkpoint, Diverged, Event, Row, Run, Trained
from adamantine.store import Store, StoreError

Keyed = tuple[str, Run]
Group = Sequence[Keyed]
TOLD_EVERY = 0.2
LARGEST = 40  # runs in a stack: more gain little and are lost together


@dataclass(frozen=True)
class Progress:
    """The run `key` has reached `step`."""

    key: str
    step: int


def groups(runs: Sequence[Keyed], jobs: int) -> list[Group]:
    """The runs in their order, those that gain by it in stacks: about as many as there are `jobs` to share them.

    They gain where the task gives batches for a stack of its own accord (`sources`), or says so (`stacks = True`).
    """
    found: dict[Any, list[Keyed]] = {}
    for key, run in runs:
        gains = hasattr(run.task, "sources") or getattr(run.task, "stacks", False)
        found.setdefault(stacked.cohort(run) if gains else key, []).append((key, run))
    out: list[Group] = []
    for members in found.values():
        n = len(members)
        parts = 1 if n == 1 else min(n, max(jobs, -(-n // LARGEST)))
        out += [members[i * n // parts : (i + 1) * n // parts] for i in range(parts)]
    return out


def work(
    group: Group, store: Store, device: str = "cpu", checkpoint_every: float = 20.0
) -> Iterator[Progress | Result]:
    """Execute one group here, from its checkpoint if there is one; every run's result is stored as it is yielded.

    A stack that raises is run again one by one, so that one run's failure is not the others'.
    """
    if len(group) > 1:
        try:
            yield from _stack(group, store, device, checkpoint_every)
            return
        except StoreError:
            raise
        except Exception:
            store.checkpoint(_name(group)).unlink(missing_ok=True)
    for key, run in group:
        yield from _single(key, run, store, device, checkpoint_every)


def _single(key: str, run: Run, store: Store, device: str, checkpoint_every: float) -> Iterator[Progress | Result]:
    file, started, clock = store.checkpoint(key), datetime.now(UTC), time.perf_counter()
    held = checkpoint.load(file)
    start, rows = held if held else (None, [])
    status, why, told, samples = DONE, "", 0.0, {}
    try:
        for event in run.events(start, device, checkpoint_every):
            if isinstance(event, Row):
                rows.append(event)
                if time.monotonic() - told > TOLD_EVERY:
                    told = time.monotonic()
                    yield Progress(key, event.step)
            elif isinstance(event, Checkpoint):
                _keep(file, event, rows)
            elif isinstance(event, Diverged):
                status, why = DIVERGED, event.why
                rows.append(Row(event.step, "diverged", float(event.step)))
            else:
                samples = _samples(run, event)
    except StoreError:
        raise
    except Exception:
        status, why = FAILED, traceback.format_exc()
        file.unlink(missing_ok=True)  # it may be what the run failed on
    facts = provenance(device) | _times(started, clock, start)
    result = Result(key, status, tuple(rows), why, facts, samples)
    store.write(run, result)
    yield result


def _stack(group: Group, store: Store, device: str, checkpoint_every: float) -> Iterator[Progress | Result]:
    file, started, clock = store.checkpoint(_name(group)), datetime.now(UTC), time.perf_counter()
    held = checkpoint.load(file)
    start, together = held if held else (None, [])
    rows: list[list[Row]] = [[] for _ in group]
    for row in together:
        place, name = row.name.split("/", 1)
        rows[int(place)].append(Row(row.step, name, row.value))
    ends: dict[int, Trained] = {}
    told = 0.0
    for i, event in stacked.events([run for _, run in group], start, device, checkpoint_every):
        if isinstance(event, Row):
            rows[i].append(event)
            if time.monotonic() - told > TOLD_EVERY:
                told = time.monotonic()
                yield from (Progress(key, event.step) for key, _ in group)
        elif isinstance(event, Checkpoint):
            _keep(file, event, [Row(r.step, f"{n}/{r.name}", r.value) for n, own in enumerate(rows) for r in own])
        elif isinstance(event, Diverged):
            rows[i].append(Row(event.step, "diverged", float(event.step)))
        else:
            ends[i] = event
    facts = provenance(device) | _times(started, clock, start, len(group))
    for i, (key, run) in enumerate(group):
        status, why, samples = DONE, "", {}
        if i in ends:
            samples = _samples(run, ends[i])
        else:
            status, why = DIVERGED, f"the training loss or a weight was no longer finite at step {rows[i][-1].step}"
        result = Result(key, status, tuple(rows[i]), why, facts, samples)
        store.write(run, result)
        yield result
    file.unlink(missing_ok=True)


def _name(group: Group) -> str:
    """What the checkpoint of a stack is called: the same for the same runs."""
    return "stack-" + hashlib.sha256(" ".join(key for key, _ in group).encode()).hexdigest()[:16]


def _samples(run: Run, event: Event) -> dict[str, Any]:
    if not isinstance(event, Trained) or not hasattr(run.task, "samples"):
        return {}
    drawn = run.task.samples(event.w)  # pyright: ignore[reportAttributeAccessIssue]
    return {name: x.float().cpu().numpy() for name, x in drawn.items()}


def _keep(file: Path, event: Checkpoint, rows: list[Row]) -> None:
    try:
        checkpoint.save(file, event, rows)
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"the checkpoint {str(file)!r} could not be written ({error}); the runs before it are safe: make room, "
            "then give the same command again."
        ) from error


def _times(started: datetime, clock: float, start: Checkpoint | None, runs: int = 1) -> dict[str, Any]:
    """When it began and what it took; a run of a stack took its share."""
    seconds = round((time.perf_counter() - clock) / runs, 3)
    when = {"started": started.isoformat(timespec="seconds"), "seconds": seconds, "stacked": runs}
    return when | {"resumed": start.step if start else None}


def provenance(device: str) -> dict[str, Any]:
    """What a reader needs to judge a number: versions, machine, device, threads."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("adamantine", "torch", "numpy")},
        "machine": platform.platform(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "threads": torch.get_num_threads(),
        "engine": multiprocessing.current_process().name,
    }
