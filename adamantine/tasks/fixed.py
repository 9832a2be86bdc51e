"""A task on a fixed set of its examples: all at once, without noise, or some at a time, with more or less of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from adamantine.point import Batch, Draw, stream
from adamantine.restricted import PREDICTIONS
from adamantine.tasks.quadratic import Quadratic
from adamantine.tree import Params, place


@dataclass(frozen=True)
class Fixed:
    """`task` on `batches` of its batches, drawn once from `seed`; `at_once` of them, dealt anew, are a step.

    With `at_once` equal to `batches`, the default 0, every step sees all examples without noise. ValueError where
    the numbers do not fit, and at the first draw for a task whose batches depend on the weights.
    """

    task: Any = field(default_factory=Quadratic)
    batches: int = 4
    at_once: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse more at once than there are."""
        if self.batches < 1 or not 0 <= self.at_once <= self.batches:
            raise ValueError(
                f"Fixed: batches = {self.batches} must be at least 1, and at_once = {self.at_once} at most as many "
                "(0 for all)."
            )

    @property
    def splits(self) -> bool:
        """As the task says."""
        return getattr(self.task, "splits", True)

    def __getattr__(self, name: str) -> Any:
        """What the task tells of itself and predicts."""
        if name not in ("outputs_and_losses", "tags", "samples", *PREDICTIONS):
            raise AttributeError(f"{type(self).__name__} has no {name!r}.")
        return getattr(self.task, name)

    def init(self, rng: torch.Generator) -> Params:
        """As the task's."""
        return self.task.init(rng)

    @cached_property
    def examples(self) -> tuple[Batch, ...]:
        """The fixed batches."""
        draw = self.task.source(stream(self.seed, "fixed examples"))
        if hasattr(draw, "renewals"):
            raise ValueError(
                f"Fixed: the batches of {type(self.task).__name__} depend on the weights, or its objective changes; "
                "give a task of fixed data."
            )
        w = self.task.init(stream(self.seed, "fixed init"))
        return tuple(draw(w) for _ in range(self.batches))

    def source(self, rng: torch.Generator) -> Draw:
        """Endless batches: all examples in order, or `at_once` of the fixed batches, without repetition in a step."""
        kept, n = self.examples, self.at_once or self.batches
        whole = _joined(kept) if n == self.batches else None

        def draw(w: Params) -> Batch:
            chosen = torch.randperm(len(kept), generator=rng)[:n].tolist()
            return _joined([kept[i] for i in chosen]) if whole is None else whole

        return draw

    def losses(self, w: Params, batch: Batch) -> Tensor:
        """The task's, `[B]`."""
        return self.task.losses(w, batch)

    @torch.no_grad()
    def score(self, w: Params) -> dict[str, float]:
        """The task's, and `training`, the mean loss over the fixed examples."""
        like = next(iter(w.values()))
        losses = [self.task.losses(w, place(b, like.device, like.dtype)) for b in self.examples]
        return {**self.task.score(w), "training": float(torch.cat(losses).mean())}


def _joined(batches: Sequence[Batch]) -> Batch:
    """One batch of the examples of all, their tensors put one after another along the first axis."""
    return tree_map(lambda *x: torch.cat(x), *batches) if len(batches) > 1 else batches[0]
