"""Multinomial logistic regression with heavy-tailed classes (Kunstner et al., arXiv:2402.19449).

Sign descent and Adam fit the rare classes that gradient descent leaves behind. The construction of the source:
`groups` groups, the `i`-th with `2^i` classes of `2^(groups - i)` examples each, so that every group has as many
examples, and the frequency of a class falls as one over its rank.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.point import Draw, stream
from adamantine.role import Tag, Tags
from adamantine.tree import Params


@dataclass(frozen=True)
class HeavyTailedLogistic:
    """Cross-entropy, in nats, of logits `W x`, `W [classes, dim]`, from 0, on `groups 2^groups` fixed examples.

    Inputs are uniform in [0, 1] and of dimension `(groups + 1) 2^groups`, more than there are examples, so that all
    of them can be fitted. `batch=0` takes all examples every time. With `balanced`, the control, the same classes have
    `groups + 1` examples each, about as many in all. Raises ValueError for no groups.
    """

    groups: int = 4
    batch: int = 0
    data_seed: int = 0
    balanced: bool = False

    def __post_init__(self) -> None:
        """Refuse no groups, and more than fit a computer."""
        if not 1 <= self.groups <= 12 or self.batch < 0:
            raise ValueError(f"HeavyTailedLogistic: groups {self.groups} is 1 to 12, and batch not negative.")

    @property
    def classes(self) -> int:
        """`2^groups - 1`."""
        return 2**self.groups - 1

    @property
    def dim(self) -> int:
        """Of the inputs."""
        return (self.groups + 1) * 2**self.groups

    def counts(self) -> Tensor:
        """How many examples each class has, `[classes]`, the frequent ones first."""
        if self.balanced:
            return torch.full((self.classes,), self.groups + 1)
        return torch.tensor([2 ** (self.groups - i) for i in range(self.groups) for _ in range(2**i)])

    def start(self) -> float:
        """The loss at `W = 0`: `log classes`."""
        return math.log(self.classes)

    def minimum(self) -> float:
        """The greatest lower bound of the loss: all examples can be fitted."""
        return 0.0

    def gradient_at_zero(self) -> Tensor:
        """`[classes, dim]`: mean input over the number of classes, less the class's share times its mean input."""
        x, y = _data(self)
        own = F.one_hot(y, self.classes).to(x.dtype).T @ x / len(x)
        return x.mean(0) / self.classes - own

    def trace_at_zero(self) -> float:
        """Of the Hessian at `W = 0`: `(1 - 1 / classes)` times the mean squared length of the inputs."""
        return (1 - 1 / self.classes) * float(_data(self)[0].square().sum(1).mean())

    def init(self, rng: torch.Generator) -> Params:
        """Zero, as in the source."""
        return {"head": torch.zeros(self.classes, self.dim)}

    def tags(self) -> Tags:
        """The one matrix is the head."""
        return Tags((("head", Tag("head")),))

    def source(self, rng: torch.Generator) -> Draw:
        """All examples `{"x": [n, dim], "y": [n]}`, or `batch` of them with replacement."""
        x, y = _data(self)

        def draw(w: Params) -> dict[str, Tensor]:
            if not self.batch:
                return {"x": x, "y": y}
            i = torch.randint(len(x), (self.batch,), generator=rng)
            return {"x": x[i], "y": y[i]}

        return draw

    def losses(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of each example, `[B]`."""
        return self.outputs_and_losses(w, batch)[1]

    def outputs_and_losses(self, w: Params, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits `[B, classes]` and the losses."""
        logits = batch["x"].to(w["head"].dtype) @ w["head"].T
        return logits, F.cross_entropy(logits, batch["y"], reduction="none")

    @torch.no_grad()
    def score(self, w: Params) -> dict[str, float]:
        """Mean loss over all examples (`held_out`: there are no others), and over each group of classes."""
        x, y = (part.to(w["head"].device) for part in _data(self))
        loss = self.losses(w, {"x": x, "y": y})
        group = (y + 1).log2().long()
        size = torch.bincount(group, minlength=self.groups)
        per_group = loss.new_zeros(self.groups).index_add_(0, group, loss) / size
        return {"held_out": loss.mean().item(), **{f"group{i}": v for i, v in enumerate(per_group.tolist())}}


@lru_cache(maxsize=8)
def _data(task: HeavyTailedLogistic) -> tuple[Tensor, Tensor]:
    y = torch.arange(task.classes).repeat_interleave(task.counts())
    return torch.rand(len(y), task.dim, generator=stream(task.data_seed, "heavy-tailed classes")), y
