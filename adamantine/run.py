"""One training run: the package's only training loop."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from adamantine import tree
from adamantine.part import Part
from adamantine.point import Point, Task, stream
from adamantine.role import asks, bind

Probe = Callable[[Point], float | dict[str, float]]

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Row:
    """One number: `name` had `value` at `step`."""

    step: int
    name: str
    value: float


@dataclass(frozen=True)
class Diverged:
    """Training left the finite numbers at `step`; `why` is a sentence."""

    step: int
    why: str


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to go on from `step`: nested tuples and dicts of tensors and plain numbers."""

    step: int
    state: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Trained:
    """The last event of a run that did not diverge: the weights to evaluate, after `step` steps."""

    step: int
    w: tree.Params = field(repr=False, compare=False)


Event = Row | Diverged | Checkpoint | Trained


@dataclass(frozen=True)
class Run:
    """Everything that determines a result. Two equal runs give equal rows.

    `role` keeps tuning apart from reporting: seed 0 of role "tune" shares no randomness with seed 0 of role "report".
    An optimizer that depends on the roles of tensors is given the task's `tags()`. Every `every` steps the mean
    training loss since the last row, what the stream tells of itself and every probe are recorded; every `score_every`
    steps (0: only at the end) the task's score. Where the stream says that the objective has changed, the optimizer
    renews its state before the step.
    """

    task: Task
    optimizer: Part
    steps: int = 100
    seed: int = 0
    role: str = "report"
    every: int = 10
    score_every: int = 0
    probes: tuple[Probe, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Refuse what could not run."""
        if self.role not in ("tune", "report"):
            raise ValueError(f'Run: role {self.role!r} is not one of "tune" and "report".')
        if self.steps < 1 or self.every < 1 or self.score_every < 0:
            raise ValueError("Run: steps and every are at least 1, score_every at least 0.")
        if self.dtype not in DTYPES:
            raise ValueError(f"Run: dtype {self.dtype!r} is not one of {', '.join(DTYPES)}.")
        if not isinstance(self.optimizer, Part):
            raise TypeError(
                f"Run: optimizer {self.optimizer!r} is not a Part; give a composition such as "
                "`Momentum(0.9) >> Lr(0.1)`."
            )
        if asks(self.optimizer) and not hasattr(self.task, "tags"):
            raise ValueError(
                f"Run: the optimizer depends on the roles of tensors, and {type(self.task).__name__} does not tell "
                "them; give it a method tags(), or the optimizer a table, as in bind(optimizer, tag(model))."
            )

    def events(
        self,
        start: Checkpoint | None = None,
        device: str = "cpu",
        checkpoint_every: float = math.inf,
    ) -> Iterator[Event]:
        """Train from `start` (or from the beginning), yielding rows as they are measured.

        A `Checkpoint` is yielded every `checkpoint_every` seconds; the last event is `Trained`, or `Diverged`
        with the step and the reason. Resumed training is bit-equal to uninterrupted training on the same machine.
        """
        dtype, seed = DTYPES[self.dtype], f"{self.role}/{self.seed}"
        optimizer = bind(self.optimizer, self.task.tags()) if asks(self.optimizer) else self.optimizer  # pyright: ignore
        rng = stream(seed, "data")
        draw = self.task.source(rng)
        if start is None:
            w = tree.place(self.task.init(stream(seed, "init")), device, dtype)
            s, first, notes, window = optimizer.init(w), 0, {}, (0.0, 0)
        else:
            held = tree.place(start.state, device)
            w, s, notes, window = held["w"], held["s"], held["notes"], tuple(held["window"])
            first = start.step
            rng.set_state(start.state["rng"].cpu())
            if start.state["draw"] is not None:
                draw.load_state_dict(start.state["draw"])  # pyright: ignore[reportFunctionMemberAccess]
        clock = time.monotonic()
        for step in range(first, self.steps):
            if time.monotonic() - clock > checkpoint_every and getattr(draw, "resumable", True):
                clock = time.monotonic()
                own = draw.state_dict() if hasattr(draw, "state_dict") else None  # pyright: ignore
                held = {"w": w, "s": s, "notes": notes, "window": window, "rng": rng.get_state(), "draw": own}
                yield Checkpoint(step, held)
            renewals = getattr(draw, "renewals", 0)
            batch = tree.place(draw(w), device, dtype)
            now, apart = getattr(draw, "renewals", 0), tree.place(getattr(draw, "held_out", None), device, dtype)
            p = Point(self.task, w, batch, step, self.steps, seed, renewals=now, held_out=apart, notes=notes)
            if step and now > renewals:
                s = optimizer.renew(s, p)
            u, s = optimizer.update(p.grad, s, p)
            loss = float(p.loss)
            if not math.isfinite(loss):
                yield Diverged(step, f"the training loss became {loss} at step {step}")
                return
            window = window[0] + loss, window[1] + 1
            if step % self.every == 0 or step == self.steps - 1:
                yield Row(step, "loss", window[0] / window[1])
                window = 0.0, 0
                yield from numbers(draw.told() if hasattr(draw, "told") else {}, step)  # pyright: ignore
                yield from measured(self.probes, p.after(u, s, optimizer))
            if self.score_every and step and step % self.score_every == 0:
                yield from numbers(self.task.score(optimizer.read(w, s)), step)
            w = tree.add(w, u, -1.0)
        if not math.isfinite(float(tree.norm(w))):
            yield Diverged(self.steps, f"a weight was no longer finite after step {self.steps - 1}")
            return
        w = optimizer.read(w, s)
        yield from numbers(self.task.score(w), self.steps)
        yield Trained(self.steps, w)


def measured(probes: tuple[Probe, ...], p: Point) -> Iterator[Row]:
    """What every probe says of a point."""
    for probe in probes:
        out = probe(p)
        named = out if isinstance(out, dict) else {_name(probe): out}
        for name, value in named.items():
            yield Row(p.step, name, float(value))


def numbers(named: dict[str, float], step: int) -> Iterator[Row]:
    """Numbers by name, as rows."""
    return (Row(step, name, float(value)) for name, value in named.items())


def _name(probe: Probe) -> str:
    return getattr(probe, "__name__", type(probe).__name__)
