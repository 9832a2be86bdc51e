"""A GPT-style decoder (Radford et al. 2019) with its usual variations as fields."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.nets.dropout import dropout
from adamantine.tree import Params


@dataclass(frozen=True)
class Decoder:
    """Pre- or post-normalized blocks of causal attention and a GELU MLP four times as wide.

    Query, key, value and output are matrices of their own, stored `[out, in]`; the embedding holds one row a
    token and is the head too when `tied`. `Decoder(50257, 1024, 768, 12, 12, bias=True)` has GPT-2's 124,439,808
    parameters.
    """

    vocabulary: int = 256
    context: int = 64
    width: int = 64
    depth: int = 2
    heads: int = 4
    norm: str = "layer"
    placement: str = "pre"
    dropout: float = 0.0
    tied: bool = True
    bias: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.norm not in ("layer", "rms", "none"):
            raise ValueError(f"Decoder: norm {self.norm!r} is not one of layer, rms, none.")
        if self.placement not in ("pre", "post"):
            raise ValueError(f"Decoder: placement {self.placement!r} is not one of pre, post.")
        if self.width % self.heads:
            raise ValueError(f"Decoder: width {self.width} does not divide into {self.heads} heads.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Decoder: dropout is {self.dropout}; it must be at least 0 and below 1.")

    def _norms(self) -> list[str]:
        last = ["norm"] if self.placement == "pre" else []
        names = [f"block{i}.norm{j}" for i in range(self.depth) for j in (1, 2)] + last
        return names if self.norm != "none" else []

    def init(self, rng: torch.Generator) -> Params:
        """GPT-2's: deviation 0.02, matrices that write to the residual stream divided by `sqrt(2 depth)`."""
        d = self.width

        def normal(*shape: int, std: float = 0.02) -> Tensor:
            return torch.randn(*shape, generator=rng) * std

        w = {"embedding.token": normal(self.vocabulary, d), "embedding.position": normal(self.context, d)}
        residual = 0.02 / (2 * self.depth) ** 0.5
        for i in range(self.depth):
            shapes = {"query": (d, d), "key": (d, d), "value": (d, d), "output": (d, d)}
            shapes |= {"up": (4 * d, d), "down": (d, 4 * d)}
            for name, shape in shapes.items():
                w[f"block{i}.{name}"] = normal(*shape, std=residual if name in ("output", "down") else 0.02)
                if self.bias:
                    w[f"block{i}.{name}.bias"] = torch.zeros(shape[0])
        for name in self._norms():
            w[name] = torch.ones(d)
            if self.bias and self.norm == "layer":
                w[f"{name}.bias"] = torch.zeros(d)
        if not self.tied:
            w["head"] = normal(self.vocabulary, d)
        return w

    def __call__(self, w: Params, tokens: Tensor, seeds: Tensor | None = None) -> Tensor:
        """Logits `[B, T, vocabulary]` of `tokens [B, T]`; `seeds [B]` draw the dropout masks (None: no dropout)."""
        x = w["embedding.token"][tokens] + w["embedding.position"][: tokens.shape[1]]
        x = self._drop(x, seeds, 0)
        for i in range(self.depth):
            b = f"block{i}"
            if self.placement == "pre":
                x = x + self._drop(self._attend(w, b, self._normed(w, f"{b}.norm1", x)), seeds, 2 * i + 1)
                x = x + self._drop(self._feed(w, b, self._normed(w, f"{b}.norm2", x)), seeds, 2 * i + 2)
            else:
                x = self._normed(w, f"{b}.norm1", x + self._drop(self._attend(w, b, x), seeds, 2 * i + 1))
                x = self._normed(w, f"{b}.norm2", x + self._drop(self._feed(w, b, x), seeds, 2 * i + 2))
        if self.placement == "pre":
            x = self._normed(w, "norm", x)
        return F.linear(x, w["embedding.token"] if self.tied else w["head"])

    def _normed(self, w: Params, name: str, x: Tensor) -> Tensor:
        if self.norm == "none":
            return x
        if self.norm == "rms":
            return F.rms_norm(x, (self.width,), w[name], 1e-5)
        return F.layer_norm(x, (self.width,), w[name], w.get(f"{name}.bias"), 1e-5)

    def _attend(self, w: Params, b: str, x: Tensor) -> Tensor:
        q, k, v = (
            F.linear(x, w[f"{b}.{name}"], w.get(f"{b}.{name}.bias")).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        return F.linear(out, w[f"{b}.output"], w.get(f"{b}.output.bias"))

    def _feed(self, w: Params, b: str, x: Tensor) -> Tensor:
        x = F.gelu(F.linear(x, w[f"{b}.up"], w.get(f"{b}.up.bias")), approximate="tanh")
        return F.linear(x, w[f"{b}.down"], w.get(f"{b}.down.bias"))

    def _drop(self, x: Tensor, seeds: Tensor | None, site: int) -> Tensor:
        return x if seeds is None or not self.dropout else dropout(x, self.dropout, seeds, site)
