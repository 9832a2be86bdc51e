"""A multilayer perceptron."""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.nets.tags import named
from adamantine.role import Tags
from adamantine.tree import Params


@dataclass(frozen=True)
class Mlp:
    """`depth` hidden layers of `width` GELU units between `inputs` numbers and `classes` logits."""

    inputs: int = 64
    classes: int = 10
    width: int = 64
    depth: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if min(self.inputs, self.classes, self.width) < 1 or self.depth < 0:
            raise ValueError("Mlp: inputs, classes and width are at least 1, depth at least 0.")

    def check(self, shape: tuple[int, int, int], classes: int) -> None:
        """Raise ValueError where images of `shape` in so many `classes` do not fit."""
        if (self.inputs, self.classes) != (math.prod(shape), classes):
            raise ValueError(
                f"Mlp: {math.prod(shape)} pixels and {classes} classes do not fit a network of {self.inputs} inputs "
                f"and {self.classes} classes; give Mlp(inputs={math.prod(shape)}, classes={classes}, ...)."
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths from the input to the logits."""
        return (self.inputs, *[self.width] * self.depth, self.classes)

    def init(self, rng: torch.Generator) -> Params:
        """Weights of variance `2 / fan-in` (He et al., arXiv:1502.01852), the head `1 / fan-in`; biases zero."""
        w = {}
        for i, (n, m) in enumerate(itertools.pairwise(self.sizes)):
            name = f"layer{i}" if i < self.depth else "head"
            gain = 2.0 if i < self.depth else 1.0
            w[f"{name}.weight"] = torch.randn(m, n, generator=rng) * (gain / n) ** 0.5
            w[f"{name}.bias"] = torch.zeros(m)
        return w

    def tags(self) -> Tags:
        """The role of every tensor."""
        return named(self.init(torch.Generator()))

    def __call__(self, w: Params, x: Tensor) -> Tensor:
        """Logits `[B, classes]` of images `[B, ...]`."""
        x = x.flatten(1)
        for i in range(self.depth):
            x = F.gelu(F.linear(x, w[f"layer{i}.weight"], w[f"layer{i}.bias"]))
        return F.linear(x, w["head.weight"], w["head.bias"])
