"""A task seen as a function of some of its tensors."""

from typing import Any

from torch import Tensor

from adamantine.tree import Params

# What a task may say of its outputs, at weights and a batch, besides its losses.
PREDICTIONS = ("values", "errors", "distribution")


class Restricted:
    """The task `task` as a function of some tensors, while the others stand still at what they are in `whole`."""

    def __init__(self, task: Any, whole: Params) -> None:
        self.task, self.whole = task, whole

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.task, name)
        return (lambda w, batch: found(self._all(w), batch)) if name in ("outputs_and_losses", *PREDICTIONS) else found

    def losses(self, w: Params, batch: Any) -> Tensor:
        """The task's, at all of its tensors."""
        return self.task.losses(self._all(w), batch)

    def _all(self, w: Params) -> Params:
        # In the order that they have, for tasks that see all as one vector.
        return {k: w.get(k, x) for k, x in self.whole.items()}
