"""Gradients, norms and inner products of the losses of single examples."""

import weakref
from typing import Any

import torch

from adamantine.per_example.passes import GRADS, GRAM, Answer, Asked
from adamantine.per_example.products import flat
from adamantine.per_example.record import Record
from adamantine.per_example.trial import Coupled, Plan
from adamantine.pieces import pieces
from adamantine.tree import Params

TASKS = 16  # for so many are plans remembered

_plans: dict[int, tuple[weakref.ref, dict[Any, Plan]]] = {}


def ask(task: Any, owner: Any, w: Params, batch: Any, want: str, total: bool) -> Answer:
    """One forward and one backward pass of `task.losses(w, batch)`, a second backward pass where shapes are new.

    A batch in pieces is asked for piece by piece. What the trial found is remembered with the `owner`, as long as it
    lives. Raises ValueError where the loss of an example depends on others.
    """
    parts = pieces(batch)
    if not getattr(owner, "splits", True):
        raise _refusal(owner, "BatchNorm in training couples the batch")
    # Inner products across pieces need the gradients themselves.
    every = GRADS if want == GRAM and len(parts) > 1 else want
    answers = [_one_piece(task, owner, w, part, every, total) for part in parts]
    if len(answers) == 1:
        return answers[0]
    found = {k: torch.cat([x.found[k] for x in answers]) for k in answers[0].found}
    if every != want:
        found = {GRAM: torch.stack([flat(x) @ flat(x).T for x in found.values()]).sum(0)}
    totals = [x.total for x in answers if x.total is not None]
    summed = {k: torch.stack([x[k] for x in totals]).sum(0) for k in w} if totals else None
    return Answer(torch.cat([x.losses for x in answers]), found, summed, answers[-1].how)


def _one_piece(task: Any, owner: Any, w: Params, batch: Any, want: str, total: bool) -> Answer:
    w = {k: x.detach().requires_grad_() for k, x in w.items()}
    with torch.enable_grad():  # an optimizer's step is often taken where gradients are off
        with Record(w, batch) as record:
            losses = task.losses(w, batch)
        if losses.ndim != 1:
            raise ValueError(
                f"{type(owner).__name__}: its losses have the shape {tuple(losses.shape)}; gradients of single "
                "examples need one loss an example, shape [B]."
            )
        if record.coupled:
            raise _refusal(owner, "BatchNorm in training couples the batch")
        if whole := getattr(owner, "whole", None):
            raise ValueError(f"{type(owner).__name__}: no example has a gradient of its own: {whole}.")
        try:
            return Asked(task.losses, w, batch, record, losses).answer(_remembered(owner), want, total)
        except Coupled:
            raise _refusal(owner, "what the network computes for one example depends on others") from None


def _refusal(owner: Any, reason: str) -> ValueError:
    return ValueError(
        f"{type(owner).__name__}: its loss does not split by example ({reason}), so per-example gradients have no "
        "meaning; use group or layer normalization instead, or whatever looks at one example at a time."
    )


def _remembered(task: Any) -> dict[Any, Plan]:
    """The plans of a task, as long as it lives."""
    held = _plans.get(id(task))
    if held is not None and held[0]() is task:
        return held[1]
    try:
        ref = weakref.ref(task)
    except TypeError:
        return {}
    while len(_plans) >= TASKS:
        del _plans[next(iter(_plans))]
    _plans[id(task)] = ref, {}
    return _plans[id(task)][1]
