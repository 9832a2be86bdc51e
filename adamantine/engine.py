"""Where runs execute: here, or in worker processes that are started once and fed one run, or stack of runs, after
another.

A worker writes each result to the store itself, so that nothing finished is lost when the parent dies. A run that
raises, or takes its worker down, is a result too: `failed`, with the traceback. The others go on.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from adamantine.key import key_of
from adamantine.module import load_file
from adamantine.result import FAILED, Result
from adamantine.store import Store, StoreError
from adamantine.work import Group, Keyed, Progress, groups, provenance, work


def execute(
    runs: Sequence[Keyed],
    store: Store,
    jobs: int = 1,
    device: str = "cpu",
    checkpoint_every: float = 20.0,
    files: Sequence[Path] = (),
) -> Iterator[Progress | Result]:
    """Execute `(key, run)` pairs and yield what becomes of them, in the order they finish.

    Runs of tasks that gain by it are stacked (`work.groups`).
    With `jobs` above 1 worker processes share the cores; `files` are the users' files that the runs come from.
    A checkpoint is written every `checkpoint_every` seconds; an interrupted run goes on from its last one.
    Raises StoreError where results can no longer be written.
    """
    threads = max(1, cores() // max(1, jobs))
    queue = groups(runs, jobs)
    if jobs == 1 or len(queue) == 1:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            for group in queue:
                yield from work(group, store, device, checkpoint_every)
        finally:
            torch.set_num_threads(before)
        return
    yield from _processes(queue, min(jobs, len(queue)), (str(store.path), device, checkpoint_every, threads, [*files]))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processes(waiting: Sequence[Group], jobs: int, setting: tuple[Any, ...]) -> Iterator[Progress | Result]:
    store, queue = Store(setting[0]), deque(waiting)
    crew = {pipe: process for process, pipe in (_start(setting) for _ in range(jobs))}
    busy: dict[Connection, list[Keyed]] = {}
    try:
        while queue or busy:
            for pipe in [p for p in crew if p not in busy]:
                if queue:
                    busy[pipe] = [*queue.popleft()]
                    _send(pipe, busy[pipe])
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                try:
                    told = pipe.recv()
                except (EOFError, OSError):
                    lost, process = busy.pop(pipe), crew.pop(pipe)
                    process.join()
                    if queue:
                        fresh, other = _start(setting)
                        crew[other] = fresh
                    for key, run in lost:
                        why = f"the worker process died with exit code {process.exitcode} while it ran {run!r}."
                        told = Result(key, FAILED, (), why, provenance(setting[1]))
                        store.write(run, told)
                        yield told
                    continue
                if isinstance(told, Exception):
                    raise told
                if isinstance(told, Result):
                    busy[pipe] = [(key, run) for key, run in busy[pipe] if key != told.key]
                    if not busy[pipe]:
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


def _send(pipe: Connection, group: Group) -> None:
    with contextlib.suppress(OSError):  # the worker is dead: reading from it will say so
        pipe.send_bytes(pickle.dumps(group))


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
            group = pickle.loads(pipe.recv_bytes())
            if any(key_of(run) != key for key, run in group):  # this process imported other code than its parent
                raise StoreError("the code changed while its runs were under way; give the same command again.")
            for told in work(group, store, device, checkpoint_every):
                if os.getppid() != parent:
                    return  # nobody is left to work for; the last checkpoint stays
                pipe.send(told)
        except EOFError:
            return
        except StoreError as error:
            pipe.send(error)
            return
