"""Rows for others: anything with `add_scalar` (TensorBoard's SummaryWriter) or `log` (a run of Weights & Biases)."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

LOG = logging.getLogger("adamantine.watch")


class Sinks:
    """Passes numbers on. A receiver that raises is told of once in the log, and training goes on."""

    def __init__(self, receivers: Sequence[Any]) -> None:
        for x in receivers:
            if not callable(getattr(x, "add_scalar", None)) and not callable(getattr(x, "log", None)):
                raise TypeError(
                    f"watch: to has a {type(x).__name__}, but what it holds must have add_scalar(name, value, step), "
                    "as a SummaryWriter, or log(dict, step=), as a run of Weights & Biases."
                )
        self.receivers = tuple(receivers)
        self.troubled: set[int] = set()

    def send(self, step: int, values: Mapping[str, float]) -> None:
        """Give every receiver the numbers of `step`."""
        for i, x in enumerate(self.receivers):
            try:
                if callable(getattr(x, "add_scalar", None)):
                    for name, value in values.items():
                        x.add_scalar(name, value, step)
                else:
                    x.log(dict(values), step=step)
            except Exception as error:
                if i not in self.troubled:
                    self.troubled.add(i)
                    LOG.warning("%s did not take the numbers of step %d: %s", type(x).__name__, step, error)
