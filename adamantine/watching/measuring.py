"""Probes at a point: what they found, what they cost, and what becomes of one that fails."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from adamantine.derivatives import lacks_memory
from adamantine.point import Point

LOG = logging.getLogger("adamantine.watch")
PATIENCE = 3  # failures in a row, after which a probe is not measured any more

Probe = Any


def label(probe: Probe) -> str:
    """What a probe is called in facts and logs: its constructor call."""
    return getattr(probe, "__name__", None) or repr(probe)


def named(probe: Probe, out: Any) -> dict[str, float]:
    """What a probe returned, with names; a number alone is named after the probe."""
    if isinstance(out, dict):
        return {str(k): float(x) for k, x in out.items()}
    return {getattr(probe, "__name__", type(probe).__name__): float(out)}


@dataclass
class Measuring:
    """The probes, with the state that they keep between measurements.

    `costs` has calls and seconds of each, `unavailable` why one failed last (`{"why", "step", "given_up"}`), by label.
    One that fails three times in a row is given up.
    """

    probes: Sequence[Probe]
    clock: Callable[[], float] = time.perf_counter
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    unavailable: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is no probe."""
        self.probes = tuple(self.probes)
        for probe in self.probes:
            if not callable(probe) or isinstance(probe, type):
                raise TypeError(f"watch: probes has {probe!r}, which is no probe; give instances, as Sharpness().")

    def facts(self) -> dict[str, Any]:
        """For a reader of the rows."""
        return {
            "probes": [label(x) for x in self.probes],
            "costs": {k: dict(x) for k, x in self.costs.items()},
            "unavailable": {k: dict(x) for k, x in self.unavailable.items()},
        }

    def given_up(self, i: int) -> bool:
        """Whether the probe is not to be measured any more."""
        return self.failures.get(i, 0) >= PATIENCE

    def all(self, due: Sequence[int], p: Point, seconds: dict[int, float], loss: bool) -> dict[str, float]:
        """What the probes that are `due` found at `p`, and the loss where one of them, or `loss`, asked for it.

        `seconds` is told what each took.
        """
        rows: dict[str, float] = {}
        for i in due:
            found, seconds[i] = self.one(i, p)
            rows |= found
        return {"loss": float(p.loss), **rows} if loss or known(p) else rows

    def one(self, i: int, p: Point) -> tuple[dict[str, float], float]:
        """What the probe found at `p`, nothing where it failed, and the seconds it took.

        Where the loss is not finite all its numbers are NaN.
        """
        probe, start = self.probes[i], self.clock()
        found: dict[str, float] = {}
        try:
            found = named(probe, probe(p))
            self.failures.pop(i, None)
            self.unavailable.pop(label(probe), None)
        except Exception as error:
            why = reason(error)
            del error  # its frames hold what the failed product had computed
            self._clear(p)
            if not lost(p):
                self._failed(i, why, p.step)
        if known(p) and lost(p):
            found = dict.fromkeys(found or getattr(probe, "units", {}), math.nan)
        _settle(p)
        seconds = self.clock() - start
        cost = self.costs.setdefault(label(probe), {"calls": 0, "seconds": 0.0})
        cost["calls"] += 1
        cost["seconds"] += seconds
        return found, seconds

    def _failed(self, i: int, why: str, step: int) -> None:
        name, before = label(self.probes[i]), self.unavailable.get(label(self.probes[i]))
        self.failures[i] = self.failures.get(i, 0) + 1
        since = before["step"] if before and before["why"] == why else step
        self.unavailable[name] = {"why": why, "step": since, "given_up": self.given_up(i)}
        if before is None or before["why"] != why:
            LOG.warning("%s is unavailable at step %d: %s", name, step, why)

    def _clear(self, p: Point) -> None:
        """Free the graphs that the failed product needed; value and gradient stay."""
        kept = {k: x for k, x in p.memo.items() if k in ("value", "value_grad")}
        p.memo.clear()
        p.memo.update(kept)
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def reason(error: BaseException) -> str:
    """Why, as a sentence where the error is one."""
    text = " ".join(str(error).split())
    if lacks_memory(error):
        return "It needs more memory than there is; train on smaller batches, or leave it out."
    sentence = isinstance(error, (ValueError, TypeError, NotImplementedError)) and text
    return text if sentence else f"{type(error).__name__}: {text}"[:500]


def known(p: Point) -> bool:
    """Whether the loss has been computed, by some probe."""
    return "value" in p.memo or "value_grad" in p.memo


def lost(p: Point) -> bool:
    """Whether the loss is not finite; not, where it cannot be computed."""
    try:
        return not math.isfinite(float(p.loss))
    except Exception:
        return False


def _settle(p: Point) -> None:
    """Wait for the device, so that time is counted where it belongs."""
    if next(iter(p.w.values())).device.type == "cuda":
        torch.cuda.synchronize()
