"""One agent as a stack of one: it meets what it would meet among others."""

from typing import Any

import numpy as np
from torch import Tensor

from adamantine.tree import Params

Batch = dict[str, Tensor]


class Alone:
    """The stream of a stack of one, for one agent."""

    def __init__(self, stack: Any) -> None:
        self.stack = stack

    def __call__(self, w: Params) -> Batch:
        """A batch by the weights `w`."""
        return _first(self.stack({k: x.unsqueeze(0) for k, x in w.items()}))

    @property
    def renewals(self) -> int:
        """How often the objective has changed."""
        return self.stack.renewals

    @property
    def held_out(self) -> Batch | None:
        """A batch of the present objective that nothing is trained on."""
        return None if self.stack.held_out is None else _first(self.stack.held_out)

    @property
    def resumable(self) -> bool:
        """Whether it can be put back."""
        return self.stack.resumable

    def told(self) -> dict[str, float]:
        """What is known so far."""
        return {k: float(x[0]) for k, x in self.stack.told().items() if np.isfinite(x[0])}

    def state_dict(self) -> dict[str, Any]:
        """The stack's."""
        return self.stack.state_dict()

    def load_state_dict(self, held: dict[str, Any]) -> None:
        """Go on from `held`."""
        self.stack.load_state_dict(held)


def _first(batch: Batch) -> Batch:
    return {k: x[0] for k, x in batch.items()}
