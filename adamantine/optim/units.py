"""Hidden units replaced by fresh ones: where to find them, and what their replacement is to weights and states."""

from typing import Any

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.tree import Params

Layers = dict[tuple[str, str], Tensor]


def activations(p: Point, owner: str) -> Layers:
    """What the task tells of its hidden layers. ValueError, in the name of `owner`, where it tells nothing."""
    told = getattr(p.task, "activations", None)
    if told is None:
        raise ValueError(
            f"{owner}: {type(p.task).__name__} does not tell its hidden units; give it a method activations(w, batch) "
            "that maps (layer, layer that reads it) to outputs [B, units]."
        )
    with torch.no_grad():
        return told(p.w, p.batch)


def replaced(p: Point, masks: dict[tuple[str, str], Tensor], w: Params, purpose: str) -> tuple[Params, Params]:
    """The weights `w` with the units of the masks `[units]` made fresh, and where: 1 for entries that changed.

    What enters a unit is drawn as at the start of the task, what leaves it becomes zero.
    """
    fresh = p.task.init(p.rng(purpose))
    new, changed = dict(w), {k: torch.zeros_like(x) for k, x in w.items()}
    for (maker, reader), mask in masks.items():
        for name in (f"{maker}.weight", f"{maker}.bias"):
            if name in w:
                rows = mask.reshape(-1, *[1] * (w[name].ndim - 1)).expand_as(w[name])
                new[name] = torch.where(rows, fresh[name].to(w[name]), new[name])
                changed[name] = torch.where(rows, torch.ones_like(w[name]), changed[name])
        name = f"{reader}.weight"
        if name in w:
            columns = mask.expand_as(w[name])
            new[name] = torch.where(columns, torch.zeros_like(w[name]), new[name])
            changed[name] = torch.where(columns, torch.ones_like(w[name]), changed[name])
    return new, changed


def forgotten(s: Any, changed: Params) -> Any:
    """A state with zeros in place of what it holds of the entries that changed."""
    if isinstance(s, tuple):
        return tuple(forgotten(x, changed) for x in s)
    if not isinstance(s, dict):
        return s
    found = {}
    for k, x in s.items():
        same = isinstance(x, Tensor) and k in changed and x.shape == changed[k].shape
        found[k] = torch.where(changed[k] > 0, torch.zeros_like(x), x) if same else forgotten(x, changed)
    return found
