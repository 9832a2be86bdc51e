"""A laboratory for the science of deep-learning optimizers: claims become runs, measurements and verdicts."""

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`torch_optimizer`, imported when it is asked for: most of the package does without."""
    if name == "torch_optimizer":
        # Not as a statement: the key of a run covers what its modules import, and no run needs this one.
        return importlib.import_module("adamantine.for_torch").torch_optimizer
    raise AttributeError(f"module 'adamantine' has no attribute {name!r}.")
