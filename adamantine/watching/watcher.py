"""Probes on a training loop, step by step: when one is due, the point where the optimizer stepped is put to them."""

import atexit
import math
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import nn

from adamantine import tree
from adamantine.pieces import Pieces
from adamantine.point import Point
from adamantine.result import Result
from adamantine.watching.checks import examined, remarks
from adamantine.watching.draws import draws
from adamantine.watching.loss import understood
from adamantine.watching.measuring import Measuring, reason
from adamantine.watching.randomness import preserved
from adamantine.watching.recording import Recording
from adamantine.watching.steps import Steps, accumulating, described, unwrapped
from adamantine.watching.task import WatchedTask, plain
from adamantine.watching.timetable import timetable
from adamantine.watching.torch_reading import TorchReading

PATIENCE = 100  # iterations until the first step
LOSS_EVERY = 8  # measurements of what asks for no loss, of which one computes it


class Watch:
    """What `watch` returns; see there. `clock` counts seconds."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        loss: Any,
        data: Any,
        probes: Sequence[Any] | Mapping[Any, int],
        every: Any,
        budget: float | None,
        store: str | Path,
        name: str | None,
        seed: int,
        to: Sequence[Any],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Refuse what cannot be watched, and listen to the optimizer."""
        model, optimizer = plain(model), unwrapped(optimizer)
        self._measuring = Measuring(tuple(probes), clock)
        self._table = timetable(every, budget, probes)
        self._task = WatchedTask(model, understood(loss), None if data is None else draws(data))
        words = {"model": type(model).__name__, "optimizer": described(optimizer)}
        self._record = Recording(store, name or words["model"], words, seed, to, clock)
        self._plan = {"every": str(every), "budget": budget}
        self._clock, self._seed, self._reading = clock, seed, TorchReading(optimizer, dict(model.named_parameters()))
        self._steps = Steps(model, optimizer, clock)
        self._step = self._measurements = self._waited = 0
        self._notes: dict[str, Any] = {}
        self._numbers: dict[str, float] = {}
        self._held: list[Any] = []
        self._due: tuple[int, ...] = ()
        # Seconds: when the last step ended; watching, training; watching that was charged to no probe yet.
        self._mark, self._own, self._loop, self._uncharged = math.nan, 0.0, 0.0, 0.0
        self._closed = bool(dist.is_available() and dist.is_initialized() and dist.get_rank())
        if self._closed:
            self._steps.close()
            return
        self._at_exit = _closer(weakref.ref(self))
        atexit.register(self._at_exit)
        self._look_ahead()

    def __enter__(self) -> "Watch":
        """For `with`, which closes it."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close."""
        self.close()

    @property
    def key(self) -> str:
        """Of the run in the store."""
        return self._record.key

    @property
    def due(self) -> bool:
        """Whether the optimizer's next step is to be measured; only then are batches kept."""
        return bool(self._due) and not self._closed

    @property
    def spent(self) -> float:
        """The share of the time that went into watching, since the first step."""
        whole = self._own + self._loop
        return self._own / whole if whole else 0.0

    @property
    def unavailable(self) -> dict[str, str]:
        """Why a probe could not be measured when it last was due, by its constructor call."""
        return {k: x["why"] for k, x in self._measuring.unavailable.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found strange about the loss or the loop, in sentences."""
        return tuple(self._record.notes)

    @property
    def result(self) -> Result:
        """What was measured so far; `provenance` has the facts."""
        return self._record.result(self.facts())

    def record(self, numbers: Mapping[str, Any]) -> None:
        """Numbers of the step under way, kept beside what is measured; what is no number is told of and dropped."""
        for k, x in numbers.items():
            try:
                self._numbers[str(k)] = float(x)
            except (TypeError, ValueError, RuntimeError):
                self._record.note(f"What was given as {k!r} is no number but a {type(x).__name__}; it is not recorded.")

    def step(self, batch: Any = None, **numbers: Any) -> None:
        """The end of an iteration on `batch`: the optimizer has stepped, or gradients are being accumulated."""
        if self._closed:
            return
        start = self._clock()
        if numbers:
            self.record(numbers)
        if not self._steps.taken or self._steps.skipped:
            self._without_step(batch)
            return
        if not math.isnan(self._mark):  # at the first step, it is not known how long one takes
            seconds = max(0.0, start - self._mark - self._steps.own)
            self._loop += seconds
            self._table.passed(seconds, self._uncharged)
            self._uncharged = 0.0
        due, rows = self._due, {}
        if due:
            self._held.append(batch)
            rows = self._measured(start)
        if rows or self._numbers:
            self._record.tell(self._step, {**rows, **self._numbers}, bool(rows), self.facts)
            self._numbers = {}
        self._step += 1
        self._look_ahead()
        self._mark = self._clock()
        if not due:
            self._own += self._mark - start
            self._uncharged += self._mark - start

    def _without_step(self, batch: Any) -> None:
        if self._steps.skipped:  # a scaler found gradients that are not finite
            self._steps.forget(True, not self._measurements)
            self._held.clear()
        elif self._due and accumulating(self._steps.names()):
            self._held.append(batch)
        else:
            self._held.clear()
        self._waited += 1
        if self._waited == PATIENCE and not self._step:
            self._record.note(
                f"The optimizer has not stepped in the first {PATIENCE} iterations; is it the one in use?"
            )

    def _look_ahead(self) -> None:
        """Forget this step, and watch the next one if a probe is due then."""
        self._held.clear()
        self._due = self._table.due(self._step)
        self._steps.forget(wanted=bool(self._due), grads=not self._measurements)

    def _measured(self, start: float) -> dict[str, float]:
        """The rows of this step, none where nothing could be measured; training goes on in any case."""
        rows: dict[str, float] = {}
        seconds: dict[int, float] = {}
        try:
            with preserved(self._task.model):
                rows = self._probed(self._point(), seconds)
        except Exception as error:
            said = "Nothing could be measured"
            self._record.note(f"{said} at step {self._step}: {reason(error)}", said)
        self._measurements += 1
        whole = self._steps.own + self._clock() - start
        self._own += whole
        shared = (whole - sum(seconds.values())) / len(self._due)
        for i in self._due:
            self._table.took(i, seconds.get(i, 0.0) + shared)
            if self._measuring.given_up(i):
                self._table.drop(i)
        return rows

    def _point(self) -> Point:
        w, task = self._steps.before, self._task
        missing = "give watch.step the batch." if any(b is None for b in self._held) else ""
        if why := self._steps.trouble or missing:
            raise ValueError(why)
        p = Point(task, w, None, self._step, self._step + 1, f"watch/{self._seed}", notes=self._notes)
        rng = p.rng("masks")
        given = [task.batch(tree.place(b, next(iter(w.values())).device), rng) for b in self._held]
        p = p.on(given[0] if len(given) == 1 else Pieces(tuple(given)))
        return p.after(self._steps.u, self._steps.groups, self._reading)

    def _probed(self, p: Point, seconds: dict[int, float]) -> dict[str, float]:
        if not self._measurements:
            alone = not (dist.is_available() and dist.is_initialized())
            for sentence in examined(p, self._task, self._steps.grads if alone else {}):
                self._record.note(sentence)
        # A forward pass more, where no probe has made one, would cost more than all norms.
        wanted = self._measurements % LOSS_EVERY == 0 and self._task.refusal is None
        rows = self._measuring.all(self._due, p, seconds, wanted)
        for sentence, once in remarks(p, rows):
            self._record.note(sentence, once)
        return rows

    def facts(self) -> dict[str, Any]:
        """What a reader of the rows needs besides: who was watched how, what it cost, what was unavailable."""
        named = self._steps.names()
        return {
            **self._record.facts(),
            **self._plan,
            "parameters": sum(x.numel() for x in named.values()),
            "tensors": list(named),
            "steps": self._step,
            "measurements": self._measurements,
            "seconds": round(self._own + self._loop, 3),
            "spent": self.spent,
            **self._measuring.facts(),
        }

    def close(self, page: bool = True) -> Path | None:
        """Write the run into the store, and its page, whose path is returned; let go of the optimizer."""
        if self._closed:
            return None
        self._closed = True
        atexit.unregister(self._at_exit)
        if self._numbers:
            self._record.tell(self._step, self._numbers, True, self.facts)
        device = next(self._task.model.parameters()).device
        self._steps.close()
        return self._record.page() if self._record.finish(self.facts(), device) and page else None


def _closer(ref: "weakref.ref[Watch]") -> Callable[[], None]:
    """Closes a watch that the program leaves open; the page waits until somebody asks for it."""

    def close() -> None:
        if watch := ref():
            watch.close(page=False)

    return close
