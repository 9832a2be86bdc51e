"""A small vision Transformer (Dosovitskiy et al., arXiv:2010.11929) with the mean of all patches as the summary."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.nets import norm as normalization
from adamantine.nets.tags import named
from adamantine.role import Tags
from adamantine.tree import Params


@dataclass(frozen=True)
class Vit:
    """Patches of `patch` pixels a side, `depth` pre-normalized blocks of `width`, no biases but the head's.

    For images `[inputs, side, side]`. Parameters as in the decoder: `embedding.patch`, `embedding.position`,
    `block{i}.query/key/value/output/up/down/norm1/norm2`, `norm`, `head.weight`, `head.bias`.
    """

    inputs: int = 1
    side: int = 16
    classes: int = 10
    patch: int = 4
    width: int = 32
    depth: int = 2
    heads: int = 4
    norm: str = "layer"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if min(self.inputs, self.side, self.classes, self.patch, self.width, self.depth, self.heads) < 1:
            raise ValueError("Vit: inputs, side, classes, patch, width, depth and heads are at least 1.")
        if self.side % self.patch:
            raise ValueError(f"Vit: a side of {self.side} does not divide into patches of {self.patch}.")
        if self.width % self.heads:
            raise ValueError(f"Vit: width {self.width} does not divide into {self.heads} heads.")
        normalization.check(self.norm, "Vit")

    def check(self, shape: tuple[int, int, int], classes: int) -> None:
        """Raise ValueError where images of `shape` in so many `classes` do not fit."""
        if ((self.inputs, self.side, self.side), self.classes) != (shape, classes):
            raise ValueError(
                f"Vit: images of shape {shape} in {classes} classes do not fit; give Vit(inputs={shape[0]}, "
                f"side={shape[1]}, classes={classes}, ...)."
            )

    def init(self, rng: torch.Generator) -> Params:
        """Matrices of variance `1 / fan-in`, over `2 depth` where they write to the residual stream; gains 1."""
        d, pixels = self.width, self.inputs * self.patch**2

        def matrix(n: int, m: int, shrink: float = 1.0) -> Tensor:
            return torch.randn(n, m, generator=rng) * (shrink / m) ** 0.5

        w = {"embedding.patch": matrix(d, pixels)}
        w["embedding.position"] = 0.02 * torch.randn((self.side // self.patch) ** 2, d, generator=rng)
        for i in range(self.depth):
            for name in ("query", "key", "value"):
                w[f"block{i}.{name}"] = matrix(d, d)
            w[f"block{i}.output"] = matrix(d, d, 0.5 / self.depth)
            w[f"block{i}.up"] = matrix(4 * d, d)
            w[f"block{i}.down"] = matrix(d, 4 * d, 0.5 / self.depth)
            if self.norm != "none":
                w |= {f"block{i}.norm1": torch.ones(d), f"block{i}.norm2": torch.ones(d)}
        if self.norm != "none":
            w["norm"] = torch.ones(d)
        w |= {"head.weight": matrix(self.classes, d), "head.bias": torch.zeros(self.classes)}
        return w

    def tags(self) -> Tags:
        """The role of every tensor."""
        return named(self.init(torch.Generator()), self.heads)

    def __call__(self, w: Params, x: Tensor) -> Tensor:
        """Logits `[B, classes]` of images `[B, inputs, side, side]`."""
        patches = F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)
        x = F.linear(patches, w["embedding.patch"]) + w["embedding.position"]
        for i in range(self.depth):
            x = x + self._attend(w, f"block{i}", normalization.normalize(self.norm, x, w.get(f"block{i}.norm1")))
            h = F.linear(normalization.normalize(self.norm, x, w.get(f"block{i}.norm2")), w[f"block{i}.up"])
            x = x + F.linear(F.gelu(h, approximate="tanh"), w[f"block{i}.down"])
        x = normalization.normalize(self.norm, x, w.get("norm")).mean(1)
        return F.linear(x, w["head.weight"], w["head.bias"])

    def _attend(self, w: Params, block: str, x: Tensor) -> Tensor:
        q, k, v = (
            F.linear(x, w[f"{block}.{name}"]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(q, k, v, scale=1 / math.sqrt(self.width // self.heads))
        return F.linear(mixed.transpose(1, 2).flatten(2), w[f"{block}.output"])
