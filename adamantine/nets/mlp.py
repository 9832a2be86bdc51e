"""A multilayer perceptron."""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.tree import Params


@dataclass(frozen=True)
class Mlp:
    """`depth` hidden layers of `width` GELU units between `inputs` numbers and `classes` logits."""

    inputs: int = 64
    classes: int = 10
    width: int = 64
    depth: int = 2

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths from the input to the logits."""
        return (self.inputs, *[self.width] * self.depth, self.classes)

    def init(self, rng: torch.Generator) -> Params:
        """Weights of variance `2 / fan-in` (He et al., arXiv:1502.01852), the head `1 / fan-in`; biases zero."""
        w, sizes = {}, self.sizes
        for i, (n, m) in enumerate(itertools.pairwise(sizes)):
            name = f"layer{i}" if i < self.depth else "head"
            gain = 2.0 if i < self.depth else 1.0
            w[f"{name}.weight"] = torch.randn(m, n, generator=rng) * (gain / n) ** 0.5
            w[f"{name}.bias"] = torch.zeros(m)
        return w

    def __call__(self, w: Params, x: Tensor) -> Tensor:
        """Logits `[B, classes]` of images `[B, ...]`."""
        x = x.flatten(1)
        for i in range(self.depth):
            x = F.gelu(F.linear(x, w[f"layer{i}.weight"], w[f"layer{i}.bias"]))
        return F.linear(x, w["head.weight"], w["head.bias"])
