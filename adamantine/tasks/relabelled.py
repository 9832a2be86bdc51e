"""Digits whose labels are shuffled again and again: does a network that has learnt much still learn?"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Distribution

from adamantine.data.digits import Digits
from adamantine.nets.tags import named
from adamantine.nets.tower import Tower
from adamantine.point import Draw, stream
from adamantine.role import Tags
from adamantine.tree import Params

CLASSES = 10


@dataclass(frozen=True)
class Relabelled:
    """Cross-entropy, in nats, on images of digits whose classes are permuted anew every `period` steps (a renewal).

    The permutations are given by `seed`; a `period` of 0 never changes them. The network has hidden layers of `widths`
    ReLU units. The stream tells `accuracy`, the mean over the last whole period of that on each batch before it is
    trained on (over the present one, so far, until the first is over).
    """

    batch: int = 32
    period: int = 200
    widths: tuple[int, ...] = (64, 64)
    seed: int = 0
    stacks = True

    def __post_init__(self) -> None:
        """Refuse what could not run."""
        if min(self.batch, *self.widths) < 1 or self.period < 0:
            raise ValueError("Relabelled: batch and widths are at least 1, period at least 0.")

    @property
    def net(self) -> Tower:
        """The network."""
        return Tower("net", 64, CLASSES, self.widths, torch.relu)

    def init(self, rng: torch.Generator) -> Params:
        """Torch's own for linear layers."""
        return self.net.uniform(rng)

    def tags(self) -> Tags:
        """The role of every tensor."""
        return named(self.init(torch.Generator()))

    def source(self, rng: torch.Generator) -> Draw:
        """Batches `{"x": [B, 64], "y": [B]}`."""
        return Stream(self, rng)

    def labels(self, change: int) -> Tensor:
        """Which label each class has after so many changes, `[10]`."""
        return _permutation(self.seed, change)

    def losses(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of each image, `[B]`."""
        return F.cross_entropy(self.net(w, batch["x"]), batch["y"], reduction="none")

    def distribution(self, w: Params, batch: dict[str, Tensor]) -> Distribution:
        """Of the label of each image."""
        return Categorical(logits=self.net(w, batch["x"]), validate_args=False)

    def activations(self, w: Params, batch: dict[str, Tensor]) -> dict[tuple[str, str], Tensor]:
        """Outputs of all hidden layers."""
        return self.net.activations(w, batch["x"])

    @torch.no_grad()
    def score(self, w: Params) -> dict[str, float]:
        """`held_out` loss under the first labels."""
        x, y = Digits().held_out()
        first = next(iter(w.values()))
        logits = self.net(w, x.flatten(1).to(first))
        return {"held_out": float(F.cross_entropy(logits, self.labels(0)[y].to(first.device)))}


@cache
def _permutation(seed: int, change: int) -> Tensor:
    return torch.randperm(CLASSES, generator=stream(seed, f"labels/{change}"))


class Stream:
    """Batches, the labels of the time, and how well they are told before they are trained on."""

    def __init__(self, task: Relabelled, rng: torch.Generator) -> None:
        self.task, self.rng, self.data = task, rng, Digits()
        self.at, self.right, self.seen, self.renewals, self.last = 0, 0.0, 0, 0, math.nan

    @torch.no_grad()
    def __call__(self, w: Params) -> dict[str, Tensor]:
        """The next batch."""
        change = self.at // self.task.period if self.task.period else 0
        if self.renewals != change + 1:
            if self.seen:
                self.last = self.right / self.seen
            self.renewals, self.right, self.seen = change + 1, 0.0, 0
        self.at += 1
        x, y = self.data.draw(self.task.batch, self.rng)
        x, y = x.flatten(1), self.task.labels(change)[y]
        first = next(iter(w.values())).cpu()
        self.right += float((self.task.net({k: v.cpu() for k, v in w.items()}, x.to(first)).argmax(1) == y).sum())
        self.seen += len(y)
        return {"x": x, "y": y}

    def told(self) -> dict[str, float]:
        """`accuracy` over the last whole period, so that it does not matter when in a period one asks."""
        return {"accuracy": self.right / max(self.seen, 1) if math.isnan(self.last) else self.last}

    def state_dict(self) -> dict[str, Any]:
        """Where it stands."""
        return {"at": self.at, "right": self.right, "seen": self.seen, "renewals": self.renewals, "last": self.last}

    def load_state_dict(self, held: dict[str, Any]) -> None:
        """Go on from `held`."""
        self.at, self.right, self.seen, self.renewals, self.last = (
            held[k] for k in ("at", "right", "seen", "renewals", "last")
        )
