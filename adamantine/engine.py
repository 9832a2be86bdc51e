"""Where runs execute: here, or in worker processes that are started once and fed one run after another.

A worker writes each result to the store itself, so that nothing finished is lost when the parent dies. A run that
raises, or takes its worker down, is a result too: `failed`, with the traceback. The others go on.
"""

import contextlib
import multiprocessing
import os
import pickle
import platform
import signal
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from adamantine import checkpoint
from adamantine.key import key_of
from adamantine.module import load_file
from adamantine.result import DIVERGED, DONE, FAILED, Result
from adamantine.run import Checkpoint, Diverged, Row, Run, Trained
from adamantine.store import Store, StoreError

Keyed = tuple[str, Run]
TOLD_EVERY = 0.2


@dataclass(frozen=True)
class Progress:
    """The run `key` has reached `step`."""

    key: str
    step: int


def execute(
    runs: Sequence[Keyed],
    store: Store,
    jobs: int = 1,
    device: str = "cpu",
    checkpoint_every: float = 20.0,
    files: Sequence[Path] = (),
) -> Iterator[Progress | Result]:
    """Execute `(key, run)` pairs and yield what becomes of them, in the order they finish.

    With `jobs` above 1 worker processes share the cores; `files` are the users' files that the runs come from.
    A checkpoint is written every `checkpoint_every` seconds; an interrupted run goes on from its last one.
    Raises StoreError where results can no longer be written.
    """
    threads = max(1, cores() // max(1, jobs))
    if jobs == 1 or len(runs) == 1:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            for key, run in runs:
                yield from work(key, run, store, device, checkpoint_every)
        finally:
            torch.set_num_threads(before)
        return
    yield from _processes(runs, min(jobs, len(runs)), (str(store.path), device, checkpoint_every, threads, [*files]))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work(
    key: str, run: Run, store: Store, device: str = "cpu", checkpoint_every: float = 20.0
) -> Iterator[Progress | Result]:
    """Execute one run here, from its checkpoint if there is one; the last thing yielded is its result, stored."""
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
            elif isinstance(event, Trained) and hasattr(run.task, "samples"):
                drawn = run.task.samples(event.w)  # pyright: ignore[reportAttributeAccessIssue]
                samples = {name: x.float().cpu().numpy() for name, x in drawn.items()}
    except StoreError:
        raise
    except Exception:
        status, why = FAILED, traceback.format_exc()
        file.unlink(missing_ok=True)  # it may be what the run failed on
    facts = provenance(device) | {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - clock, 3),
        "resumed": start.step if start else None,
    }
    result = Result(key, status, tuple(rows), why, facts, samples)
    store.write(run, result)
    yield result


def _keep(file: Path, event: Checkpoint, rows: list[Row]) -> None:
    try:
        checkpoint.save(file, event, rows)
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"the checkpoint {str(file)!r} could not be written ({error}); the runs before it are safe: make room, "
            "then give the same command again."
        ) from error


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


def _processes(runs: Sequence[Keyed], jobs: int, setting: tuple[Any, ...]) -> Iterator[Progress | Result]:
    store, queue = Store(setting[0]), deque(runs)
    crew = {pipe: process for process, pipe in (_start(setting) for _ in range(jobs))}
    busy: dict[Connection, Keyed] = {}
    try:
        while queue or busy:
            for pipe in [p for p in crew if p not in busy]:
                if queue:
                    busy[pipe] = queue.popleft()
                    _send(pipe, busy[pipe])
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                try:
                    told = pipe.recv()
                except (EOFError, OSError):
                    (key, run), process = busy.pop(pipe), crew.pop(pipe)
                    process.join()
                    why = f"the worker process died with exit code {process.exitcode} while it ran {run!r}."
                    told = Result(key, FAILED, (), why, provenance(setting[1]))
                    store.write(run, told)
                    if queue:
                        fresh, other = _start(setting)
                        crew[other] = fresh
                    yield told
                    continue
                if isinstance(told, Exception):
                    raise told
                if isinstance(told, Result):
                    del busy[pipe]
                yield told
    finally:
        for pipe, process in crew.items():
            pipe.close()
            process.terminate()
        for process in crew.values():
            process.join()


def _start(setting: tuple[Any, ...]) -> tuple[BaseProcess, Connection]:
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_worker, args=(there, os.getpid(), *setting), daemon=True, name="worker process"
    )
    process.start()
    there.close()  # so that the worker's death is seen as the end of the pipe
    return process, here


def _send(pipe: Connection, keyed: Keyed) -> None:
    with contextlib.suppress(OSError):  # the worker is dead: reading from it will say so
        pipe.send_bytes(pickle.dumps(keyed))


def _worker(
    pipe: Connection,
    parent: int,
    path: str,
    device: str,
    checkpoint_every: float,
    threads: int,
    files: list[Path],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(threads)
    for file in files:
        load_file(file)
    store = Store(path)
    while True:
        try:
            key, run = pickle.loads(pipe.recv_bytes())
            if key_of(run) != key:  # this process imported other code than its parent
                raise StoreError("the code changed while its runs were under way; give the same command again.")
            for told in work(key, run, store, device, checkpoint_every):
                if os.getppid() != parent:
                    return  # nobody is left to work for; the last checkpoint stays
                pipe.send(told)
        except EOFError:
            return
        except StoreError as error:
            pipe.send(error)
            return
