"""A laboratory for the science of deep-learning optimizers: claims become runs, measurements and verdicts."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`torch_optimizer`, imported when it is asked for: most of the package does without."""
    if name == "torch_optimizer":
        from adamantine.for_torch import torch_optimizer

        return torch_optimizer
    raise AttributeError(f"module 'adamantine' has no attribute {name!r}.")
