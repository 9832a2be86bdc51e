"""A small diffusion Transformer (DiT: Peebles & Xie, arXiv:2212.09748): time enters by adaLN-zero modulation."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.nets import norm as normalization
from adamantine.nets import time_embedding
from adamantine.nets.tags import named
from adamantine.role import Tags
from adamantine.tree import Params


@dataclass(frozen=True)
class Dit:
    """A field `[B, inputs, side, side]` of images of that shape and times `[B]`; each example by itself.

    Patches of `patch` pixels a side at fixed sinusoidal positions, `depth` pre-normalized blocks of `width`. The time
    gives each block a shift, a scale and a gate for attention and for its network, `x + gate f(norm(x) (1 + scale) +
    shift)`, so that normalization has no gain of its own. Only what the time goes through and the head have biases.
    Parameters: `embedding.patch`, `time.up/down`, `block{i}.query/key/value/output/up/down/modulation`, `modulation`
    of the last normalization, `head.weight`, `head.bias`.
    """

    inputs: int = 1
    side: int = 16
    patch: int = 4
    width: int = 64
    depth: int = 2
    heads: int = 4
    norm: str = "layer"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if min(self.inputs, self.side, self.patch, self.width, self.depth, self.heads) < 1:
            raise ValueError("Dit: inputs, side, patch, width, depth and heads are at least 1.")
        if self.side % self.patch:
            raise ValueError(f"Dit: a side of {self.side} does not divide into patches of {self.patch}.")
        if self.width % self.heads:
            raise ValueError(f"Dit: width {self.width} does not divide into {self.heads} heads.")
        if self.width % 4:
            raise ValueError(
                f"Dit: width {self.width} is not a multiple of 4; row and column take a pair of waves each."
            )
        normalization.check(self.norm, "Dit")

    def check(self, shape: tuple[int, int, int]) -> None:
        """Raise ValueError where images of `shape` do not fit."""
        if (self.inputs, self.side, self.side) != tuple(shape):
            raise ValueError(
                f"Dit: images of shape {shape} do not fit; give Dit(inputs={shape[0]}, side={shape[1]}, ...), for "
                "square images."
            )

    def init(self, rng: torch.Generator) -> Params:
        """Matrices of variance `1 / fan-in`; modulations and the head zero (adaLN-zero).

        Every block is the identity, and the field zero, before training.
        """
        d, pixels = self.width, self.inputs * self.patch**2

        def matrix(n: int, m: int) -> Tensor:
            return torch.randn(n, m, generator=rng) * m**-0.5

        w = {"embedding.patch": matrix(d, pixels), **time_embedding.init(d, rng)}
        for i in range(self.depth):
            for name in ("query", "key", "value", "output"):
                w[f"block{i}.{name}"] = matrix(d, d)
            w |= {f"block{i}.up": matrix(4 * d, d), f"block{i}.down": matrix(d, 4 * d)}
            w |= _zero(f"block{i}.modulation", 6 * d, d)
        return w | _zero("modulation", 2 * d, d) | _zero("head", pixels, d)

    def tags(self) -> Tags:
        """The role of every tensor."""
        return named(self.init(torch.Generator()), self.heads)

    def __call__(self, w: Params, x: Tensor, t: Tensor) -> Tensor:
        """The field `[B, inputs, side, side]` at images `x` of the same shape and times `t [B]` from 0 to 1."""
        time = F.silu(time_embedding.embed(w, t))[:, None]
        patches = F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)
        x = F.linear(patches, w["embedding.patch"]) + self._positions(x)
        for i in range(self.depth):
            block = f"block{i}"
            shift, scale, gate, shift2, scale2, gate2 = _modulation(w, f"{block}.modulation", time).chunk(6, -1)
            x = x + gate * self._attend(w, block, self._normed(x) * (1 + scale) + shift)
            h = F.linear(self._normed(x) * (1 + scale2) + shift2, w[f"{block}.up"])
            x = x + gate2 * F.linear(F.gelu(h, approximate="tanh"), w[f"{block}.down"])
        shift, scale = _modulation(w, "modulation", time).chunk(2, -1)
        x = F.linear(self._normed(x) * (1 + scale) + shift, w["head.weight"], w["head.bias"])
        return F.fold(x.transpose(1, 2), (self.side, self.side), self.patch, stride=self.patch)

    def _positions(self, like: Tensor) -> Tensor:
        """`[patches, width]`: half the features tell the row, half the column."""
        at = torch.arange(self.side // self.patch, dtype=like.dtype, device=like.device)
        waves = time_embedding.sinusoids(at, self.width // 2, 0.1, 1.0)
        n = len(at)
        return torch.cat([waves[:, None].expand(n, n, -1), waves[None].expand(n, n, -1)], -1).flatten(0, 1)

    def _normed(self, x: Tensor) -> Tensor:
        return normalization.normalize(self.norm, x, x.new_ones(self.width))

    def _attend(self, w: Params, block: str, x: Tensor) -> Tensor:
        q, k, v = (
            F.linear(x, w[f"{block}.{name}"]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(q, k, v, scale=1 / math.sqrt(self.width // self.heads))
        return F.linear(mixed.transpose(1, 2).flatten(2), w[f"{block}.output"])


def _zero(name: str, n: int, m: int) -> Params:
    return {f"{name}.weight": torch.zeros(n, m), f"{name}.bias": torch.zeros(n)}


def _modulation(w: Params, name: str, time: Tensor) -> Tensor:
    return F.linear(time, w[f"{name}.weight"], w[f"{name}.bias"])
