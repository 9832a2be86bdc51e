"""A laboratory for the science of deep-learning optimizers: claims become runs, measurements and verdicts."""

import importlib
from typing import Any

__version__ = "0.1.0"

_ASKED_FOR = {"torch_optimizer": "adamantine.for_torch", "watch": "adamantine.watching.watch"}


def __getattr__(name: str) -> Any:
    """`torch_optimizer` and `watch`, imported when they are asked for: most of the package does without."""
    if name in _ASKED_FOR:
        # Not as a statement: the key of a run covers what its modules import, and no run needs these.
        return getattr(importlib.import_module(_ASKED_FOR[name]), name)
    raise AttributeError(f"module 'adamantine' has no attribute {name!r}.")
