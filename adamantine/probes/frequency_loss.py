"""The loss of rare and of frequent classes apart (Kunstner et al., arXiv:2402.19449)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.point import Point, stream
from adamantine.tree import place


@dataclass(frozen=True)
class FrequencyLoss:
    """Mean cross-entropy over groups of classes, from the most frequent (0) to the rarest, each with as many examples.

    From `batches` batches drawn for the purpose, the same at every step of a run: classes are ordered by how often they
    occur there and cut into `groups` of about equal numbers of examples. `frequency_loss` is the mean of all,
    `frequency_loss/i` that of a group. For tasks whose batches have integer labels `y` and that tell their logits
    (`outputs_and_losses`); NaN for others.
    """

    groups: int = 4
    batches: int = 8
    units: ClassVar[dict[str, str]] = {"frequency_loss": "mean cross-entropy of a group of classes; nats"}
    caveat: ClassVar[str] = (
        "Rare classes are those that are rare in few batches: their group is noisy and chosen by luck."
    )

    def __post_init__(self) -> None:
        """Refuse less than two groups, and no batches."""
        if self.groups < 2 or self.batches < 1:
            raise ValueError("FrequencyLoss: groups must be at least 2 and batches at least 1.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"loss": self.batches}

    def __call__(self, p: Point) -> dict[str, float]:
        """`frequency_loss`, of all and of each group."""
        outputs = getattr(p.task, "outputs_and_losses", None)
        if outputs is None or not isinstance(p.batch, dict) or "y" not in p.batch:
            return {"frequency_loss": math.nan}
        draw, like = p.task.source(stream(p.seed, "frequency loss")), next(iter(p.w.values()))
        losses, labels = [], []
        with torch.no_grad():
            for _ in range(self.batches):
                batch = place(draw(p.w), like.device, like.dtype)
                logits, y = outputs(p.w, batch)[0].flatten(0, -2), batch["y"].flatten()
                p.cost["loss"] += 1
                losses.append(F.cross_entropy(logits.double(), y, reduction="none"))
                labels.append(y)
        loss, group = torch.cat(losses).cpu(), self._groups(torch.cat(labels).cpu())
        out = {"frequency_loss": float(loss.mean())}
        return out | {f"frequency_loss/{i}": float(loss[group == i].mean()) for i in range(self.groups)}

    def _groups(self, y: Tensor) -> Tensor:
        """Which group each example belongs to, by the frequency of its class."""
        counts = torch.bincount(y)
        order = counts.argsort(descending=True, stable=True)
        before = counts[order].cumsum(0) - counts[order]
        of_class = torch.empty_like(counts)
        of_class[order] = (before * self.groups // len(y)).clamp_max(self.groups - 1)
        return of_class[y]

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """Nothing: there are no classes."""
        return {}
