"""Many training runs advanced as one: what a step costs small networks is mostly overhead, which they then share.

The runs are equal but for their seeds and for numbers in their optimizers. Their weights are stacked, `[S, ...]`; each
keeps its own streams of randomness, so that it meets what it would meet alone, and goes the same way but for rounding.
How its optimizer is best applied to a stack is found out at the first step (`lanes.py`).
"""

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from adamantine import tree
from adamantine.lanes import Lanes, of
from adamantine.point import Point, Task, stream
from adamantine.role import asks, bind
from adamantine.run import DTYPES, Checkpoint, Diverged, Event, Run, Trained, measured, numbers
from adamantine.slots import skeleton


class Stack:
    """The streams and losses of `task` for a stack of runs: its own where it has `sources`, else one by one."""

    def __init__(self, task: Task, rngs: Sequence[torch.Generator]) -> None:
        self.task, self.native = task, hasattr(task, "sources")
        self.draws = [task.sources(rngs)] if self.native else [task.source(g) for g in rngs]  # pyright: ignore

    def __call__(self, w: tree.Params) -> Any:
        """Batches `[S, ...]` at the stacked weights."""
        if self.native:
            return self.draws[0](w)
        apart = zip(*(x.unbind() for x in w.values()), strict=True)
        return stacked([draw(dict(zip(w, own, strict=True))) for draw, own in zip(self.draws, apart, strict=True)])

    @property
    def renewals(self) -> int:
        """How often the objectives have changed. ValueError where they do not change together."""
        found = {getattr(draw, "renewals", 0) for draw in self.draws}
        if len(found) > 1:
            raise ValueError("stacked: these runs change their objectives at different times; run them one by one.")
        return found.pop()

    @property
    def held_out(self) -> Any:
        """Batches that nothing is trained on, `[S, ...]`, or None."""
        found = [getattr(draw, "held_out", None) for draw in self.draws]
        if self.native or found[0] is None:
            return found[0]
        return stacked(found)

    @property
    def resumable(self) -> bool:
        """Whether all of them are."""
        return all(getattr(draw, "resumable", True) for draw in self.draws)

    def told(self, i: int) -> dict[str, float]:
        """What the stream of run `i` knows of itself."""
        if self.native:
            found = {k: float(x[i]) for k, x in self.draws[0].told().items()}
            return {k: x for k, x in found.items() if math.isfinite(x)}
        return self.draws[i].told() if hasattr(self.draws[i], "told") else {}  # pyright: ignore

    def state_dict(self) -> list[Any]:
        """That of every stream."""
        return [draw.state_dict() if hasattr(draw, "state_dict") else None for draw in self.draws]  # pyright: ignore

    def load_state_dict(self, held: list[Any]) -> None:
        """Go on from `held`."""
        for draw, own in zip(self.draws, held, strict=True):
            if own is not None:
                draw.load_state_dict(own)  # pyright: ignore

    def losses_and_gradients(self, w: tree.Params, batch: Any) -> tuple[list[float], tree.Params]:
        """Mean loss of every run, and the gradients `[S, ...]`."""
        live = {k: x.detach().requires_grad_() for k, x in w.items()}
        losses = self.task.losses if self.native else torch.func.vmap(self.task.losses, randomness="same")
        means = losses(live, batch).flatten(1).mean(1)
        found = torch.autograd.grad(means.sum(), list(live.values()), allow_unused=True)
        grads = (torch.zeros_like(x) if g is None else g for x, g in zip(w.values(), found, strict=True))
        return means.tolist(), dict(zip(w, grads, strict=True))


def cohort(run: Run) -> Any:
    """What runs must have in common to be stacked: all but seed, role and the numbers in the optimizer."""
    plain = dataclasses.replace(run, seed=0, role="report")
    rest = [getattr(plain, f.name) for f in dataclasses.fields(run) if f.name != "optimizer"]
    return repr((rest, skeleton(run.optimizer)))


def events(
    runs: Sequence[Run], start: Checkpoint | None = None, device: str = "cpu", checkpoint_every: float = math.inf
) -> Iterator[tuple[int, Event]]:
    """The events of all `runs`, each with the place of its run; a `Checkpoint` is of all, its place is -1.

    The last event of a run is `Trained` or `Diverged`; one that diverged stands still while the others go on. Raises
    ValueError for runs that cannot be stacked.
    """
    first, size = runs[0], len(runs)
    if len({cohort(run) for run in runs}) > 1:
        raise ValueError("stacked: the runs differ in more than seeds and numbers in the optimizer; run them apart.")
    task, dtype, seeds = first.task, DTYPES[first.dtype], [f"{run.role}/{run.seed}" for run in runs]
    tags = task.tags() if asks(first.optimizer) else None  # pyright: ignore[reportAttributeAccessIssue]
    rngs = [stream(seed, "data") for seed in seeds]
    stack = Stack(task, rngs)
    lanes = Lanes([run.optimizer if tags is None else bind(run.optimizer, tags) for run in runs])
    if start is None:
        w = stacked([tree.place(task.init(stream(seed, "init")), device, dtype) for seed in seeds])
        notes, windows, begin, going = [{} for _ in runs], [(0.0, 0)] * size, 0, [True] * size
    else:
        held = tree.place(start.state, device)
        w, notes, begin, going = held["w"], held["notes"], start.step, held["going"]
        windows = [tuple(x) for x in held["windows"]]
        lanes.load_state_dict(held["lanes"])
        for rng, state in zip(rngs, start.state["rngs"], strict=True):
            rng.set_state(state.cpu())
        stack.load_state_dict(start.state["draws"])
    clock = time.monotonic()
    for step in range(begin, first.steps):
        if time.monotonic() - clock > checkpoint_every and stack.resumable:
            clock = time.monotonic()
            held = {"w": w, "lanes": lanes.state_dict(), "notes": notes, "windows": windows, "going": going}
            held |= {"rngs": [g.get_state() for g in rngs], "draws": stack.state_dict()}
            yield -1, Checkpoint(step, held)
        renewals = stack.renewals
        batch, now = tree.place(stack(w), device, dtype), stack.renewals
        losses, grads = stack.losses_and_gradients(w, batch)
        for i, loss in enumerate(losses):
            if going[i] and not math.isfinite(loss):
                going[i] = False
                yield i, Diverged(step, f"the training loss became {loss} at step {step}")
        if not any(going):
            return
        p = Point(task, w, batch, step, first.steps, renewals=now).given(grads)
        u = lanes.update(p, seeds, bool(step and now > renewals))
        windows = [(a + x, n + 1) for (a, n), x in zip(windows, losses, strict=True)]
        if step % first.every == 0 or step == first.steps - 1:
            apart = tree.place(stack.held_out, device, dtype) if first.probes else None
            for i in (i for i in range(size) if going[i]):
                yield from ((i, row) for row in numbers({"loss": windows[i][0] / windows[i][1]}, step))
                yield from ((i, row) for row in numbers(stack.told(i), step))
                if first.probes:
                    own = Point(task, of(w, i), of(batch, i), step, first.steps, seeds[i], renewals=now)
                    own = dataclasses.replace(own, held_out=of(apart, i), notes=notes[i])
                    own = own.after(of(u, i), lanes.state(i, own.w), lanes.parts[i])
                    yield from ((i, row) for row in measured(first.probes, own))
            windows = [(0.0, 0)] * size
        if first.score_every and step and step % first.score_every == 0:
            yield from ((i, row) for i, row in _scores(task, lanes, w, going, step))
        w = tree.add(w, u, -1.0) if all(going) else _where(going, tree.add(w, u, -1.0), w)
    for i in range(size):
        if going[i] and not math.isfinite(float(tree.norm(of(w, i)))):
            going[i] = False
            yield i, Diverged(first.steps, f"a weight was no longer finite after step {first.steps - 1}")
    yield from _scores(task, lanes, w, going, first.steps)
    yield from ((i, Trained(first.steps, lanes.read(of(w, i), i))) for i in range(size) if going[i])


def stacked(xs: Sequence[Any]) -> Any:
    """Equal nestings of tensors as one of tensors `[S, ...]`. ValueError where shapes differ."""
    try:
        if isinstance(xs[0], dict):  # pytrees cost more than what they hold
            return {k: stacked([x[k] for x in xs]) for k in xs[0]}
        if isinstance(xs[0], Tensor):
            return torch.stack(list(xs))
        return tree_map(lambda *leaves: torch.stack(leaves) if isinstance(leaves[0], Tensor) else leaves[0], *xs)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"stacked: these runs have batches or weights of different shapes ({error}).") from error


def _scores(task: Task, lanes: Lanes, w: tree.Params, going: list[bool], step: int) -> Iterator[tuple[int, Event]]:
    read = [lanes.read(of(w, i), i) for i in range(len(going))]
    if hasattr(task, "scores"):
        found = {k: x.tolist() for k, x in task.scores(stacked(read)).items()}  # pyright: ignore
        told = [{k: x[i] for k, x in found.items()} for i in range(len(going))]
    else:
        told = [task.score(own) if going[i] else {} for i, own in enumerate(read)]
    yield from ((i, row) for i, found in enumerate(told) if going[i] for row in numbers(found, step))


def _where(going: list[bool], new: tree.Params, old: tree.Params) -> tree.Params:
    mask = torch.tensor(going, device=next(iter(new.values())).device)
    return {k: torch.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, old[k]) for k, x in new.items()}
