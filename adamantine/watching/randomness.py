"""Randomness of others: put back as it was, and made to repeat itself."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

DEPTH = 4  # attributes of attributes that are searched for generators
KINDS = (random.Random, np.random.RandomState, np.random.Generator)


@contextmanager
def preserved(model: nn.Module | None = None, beside: Any = None) -> Iterator[None]:
    """All generators as before at the end: those of torch (every device), numpy and Python, and others' own.

    Their own are the torch generators that the module's parts hold, and whatever generators are found in `beside` and
    its attributes.
    """
    own = generators(model)
    numpy = np.random.get_state()  # noqa: NPY002
    held = torch.get_rng_state(), random.getstate(), [g.get_state() for g in own]
    others = [(g, _state(g)) for g in _found(beside)]
    # Asking for the state of a device that was never used would wake it up.
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        torch.set_rng_state(held[0])
        np.random.set_state(numpy)  # noqa: NPY002
        random.setstate(held[1])
        for g, state in zip(own, held[2], strict=True):
            g.set_state(state)
        for g, state in others:
            _put_back(g, state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def generators(model: nn.Module | None) -> list[torch.Generator]:
    """Those that the module and its parts hold as attributes."""
    parts = () if model is None else model.modules()
    # By type: an instance check of a class of torch's takes long.
    return [x for part in parts for x in vars(part).values() if type(x) is torch.Generator]


def seed_all(seed: int, model: nn.Module | None = None) -> None:
    """Start the global generators and the module's from `seed`."""
    # Not torch.manual_seed: on devices that nobody has used yet, that seed would wait for the user's own code.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    for g in generators(model):
        g.manual_seed(seed)


def _found(x: Any) -> list[Any]:
    """The generators in `x`, its attributes and theirs, `DEPTH` times."""
    found, level, seen = [], [x], set()
    for _ in range(DEPTH + 1):
        level = [y for y in level if id(y) not in seen]
        seen |= {id(y) for y in level}
        found += [y for y in level if isinstance(y, KINDS) or type(y) is torch.Generator]
        level = [z for y in level for z in _inside(y)]
    return found


def _inside(x: Any) -> list[Any]:
    if isinstance(x, (list, tuple)):
        return [*x] if len(x) < 100 else []  # examples, not transforms
    closed = isinstance(x, (type, ModuleType, torch.Tensor, *KINDS))
    return [] if closed else [*getattr(x, "__dict__", {}).values()]


def _state(g: Any) -> Any:
    if isinstance(g, np.random.Generator):
        return copy.deepcopy(g.bit_generator.state)
    return g.getstate() if isinstance(g, random.Random) else g.get_state()


def _put_back(g: Any, state: Any) -> None:
    if isinstance(g, np.random.Generator):
        g.bit_generator.state = state
    elif isinstance(g, random.Random):
        g.setstate(state)
    else:
        g.set_state(state)
