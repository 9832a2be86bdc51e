"""Randomness of others: put back as it was, and made to repeat itself."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def preserved(model: nn.Module | None = None) -> Iterator[None]:
    """The global generators of torch (every device), numpy and Python, and the module's own, as before at the end."""
    own = generators(model)
    numpy = np.random.get_state()  # noqa: NPY002
    held = torch.get_rng_state(), random.getstate(), [g.get_state() for g in own]
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
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def generators(model: nn.Module | None) -> list[torch.Generator]:
    """Those that the module and its parts hold as attributes."""
    parts = () if model is None else model.modules()
    # By type: an instance check of a class of torch's takes long.
    return [x for part in parts for x in vars(part).values() if type(x) is torch.Generator]


def seed_all(seed: int, model: nn.Module | None = None) -> None:
    """Start every generator that `preserved` puts back from `seed`."""
    # Not torch.manual_seed: on devices that nobody has used yet, that seed would wait for the user's own code.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    for g in generators(model):
        g.manual_seed(seed)
