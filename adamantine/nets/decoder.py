"""A GPT-style decoder (Radford et al. 2019, "Language models are unsupervised multitask learners").

Its usual variations are fields: pre- or post-normalization (Xiong et al., arXiv:2002.04745), layer, RMS or no
normalization, dropout on the residual stream, tied or untied head, biases.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.nets import norm as normalization
from adamantine.nets.dropout import dropout
from adamantine.nets.tags import named
from adamantine.role import Tags
from adamantine.tree import Params

STD = 0.02


@dataclass(frozen=True)
class Decoder:
    """Blocks of causal attention and a GELU network `mlp` times as wide, on learned positions.

    Parameters, all matrices stored `[out, in]`, with `d = width` and `i` the block:
    `embedding.token [vocab, d]` (one row a token; the head too when `tied`), `embedding.position [context, d]`,
    `block{i}.query`, `.key`, `.value`, `.output` `[d, d]`, `block{i}.up [mlp d, d]`, `block{i}.down [d, mlp d]`,
    gains `block{i}.norm1`, `block{i}.norm2` and, for pre-normalization, the last `norm` `[d]`; `head [vocab, d]`
    when not tied. `bias=True` adds `NAME.bias` to the matrices of the blocks and to the gains of layer
    normalization, as in GPT-2, which then has 124,439,808 parameters (124,318,464 - 0.1 % - without).
    Dropout acts where GPT-2 has it (embedding, each block's two outputs) but for the attention weights.
    Raises ValueError or TypeError where the fields describe no network.
    """

    vocab: int = 256
    context: int = 64
    width: int = 64
    depth: int = 2
    heads: int = 4
    norm: str = "layer"
    placement: str = "pre"
    dropout: float = 0.0
    tied: bool = True
    mlp: int = 4
    bias: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name in ("vocab", "context", "width", "depth", "heads", "mlp"):
            n = getattr(self, name)
            if not isinstance(n, int) or isinstance(n, bool):
                raise TypeError(f"Decoder: {name} is {n!r}; it must be a whole number.")
            if n < 1:
                raise ValueError(f"Decoder: {name} is {n}; it must be at least 1.")
        normalization.check(self.norm, "Decoder")
        if self.placement not in ("pre", "post"):
            raise ValueError(f"Decoder: placement {self.placement!r} is not one of pre, post.")
        if self.width % self.heads:
            raise ValueError(
                f"Decoder: width {self.width} does not divide into {self.heads} heads; "
                "choose a multiple of the number of heads."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Decoder: dropout is {self.dropout}; it must be at least 0 and below 1.")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name, in the order `init` draws them."""
        d, out = self.width, {}
        out["embedding.token"], out["embedding.position"] = (self.vocab, d), (self.context, d)
        matrices = dict.fromkeys(("query", "key", "value", "output"), (d, d))
        matrices |= {"up": (self.mlp * d, d), "down": (d, self.mlp * d)}
        for i in range(self.depth):
            for name, shape in matrices.items():
                out[f"block{i}.{name}"] = shape
                if self.bias:
                    out[f"block{i}.{name}.bias"] = shape[:1]
            for j in (1, 2):
                out |= self._gain(f"block{i}.norm{j}")
        if self.placement == "pre":
            out |= self._gain("norm")
        if not self.tied:
            out["head"] = (self.vocab, d)
        return out

    def _gain(self, name: str) -> dict[str, tuple[int, ...]]:
        if self.norm == "none":
            return {}
        both = self.bias and self.norm == "layer"
        return {name: (self.width,)} | ({f"{name}.bias": (self.width,)} if both else {})

    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def init(self, rng: torch.Generator) -> Params:
        """GPT-2's: normal of deviation 0.02, over `sqrt(2 depth)` for `output` and `down`; gains 1, biases 0."""
        w = {}
        for name, shape in self.shapes().items():
            if name.endswith(".bias"):
                w[name] = torch.zeros(shape)
            elif len(shape) == 1:
                w[name] = torch.ones(shape)
            else:
                # What writes to the residual stream: there are 2 depth such terms in its sum.
                residual = name.endswith((".output", ".down"))
                std = STD / math.sqrt(2 * self.depth) if residual else STD
                w[name] = torch.randn(shape, generator=rng).mul_(std)
        return w

    def tags(self) -> Tags:
        """The role of every tensor."""
        return named(self.shapes(), self.heads, self.tied)

    def __call__(self, w: Params, tokens: Tensor, seeds: Tensor | None = None) -> Tensor:
        """Logits `[B, T, vocab]` of `tokens [B, T]`, int64, `T <= context`.

        `seeds [B]`, int64, draw each example's dropout masks; without them nothing is dropped. Raises
        ValueError where a sequence is longer than the context.
        """
        length = tokens.shape[-1]
        if length > self.context:
            raise ValueError(
                f"Decoder: a sequence of {length} tokens is longer than the context of {self.context}; "
                "cut it, or build the decoder with a longer context."
            )
        x = F.embedding(tokens, w["embedding.token"]) + w["embedding.position"][:length]
        x = self._drop(x, seeds, 0)
        for i in range(self.depth):
            for j, layer in enumerate((self._attend, self._feed), 1):
                block, name, site = f"block{i}", f"block{i}.norm{j}", 2 * i + j
                if self.placement == "pre":
                    x = x + self._drop(layer(w, block, self._normed(w, name, x)), seeds, site)
                else:
                    x = self._normed(w, name, x + self._drop(layer(w, block, x), seeds, site))
        if self.placement == "pre":
            x = self._normed(w, "norm", x)
        return F.linear(x, w["embedding.token" if self.tied else "head"])

    def _normed(self, w: Params, name: str, x: Tensor) -> Tensor:
        return normalization.normalize(self.norm, x, w.get(name), w.get(f"{name}.bias"))

    def _attend(self, w: Params, block: str, x: Tensor) -> Tensor:
        q, k, v = (
            _linear(w, f"{block}.{name}", x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return _linear(w, f"{block}.output", mixed.transpose(1, 2).flatten(2))

    def _feed(self, w: Params, block: str, x: Tensor) -> Tensor:
        return _linear(w, f"{block}.down", F.gelu(_linear(w, f"{block}.up", x), approximate="tanh"))

    def _drop(self, x: Tensor, seeds: Tensor | None, site: int) -> Tensor:
        return x if seeds is None else dropout(x, self.dropout, seeds, site)


def _linear(w: Params, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[name], w.get(f"{name}.bias"))


SIZES = {
    "tiny": Decoder(),
    "small": Decoder(context=128, width=128, depth=4),
    "medium": Decoder(context=256, width=384, depth=6, heads=6),
    "gpt2": Decoder(50257, 1024, 768, 12, 12, bias=True),
}


def sized(name: str, vocab: int | None = None) -> Decoder:
    """A decoder by size: "tiny" (0.12 M parameters), "small" (0.84 M), "medium" (10.8 M) or "gpt2" (124 M).

    All but the last read bytes; `vocab` gives another vocabulary. Raises ValueError for another name.
    """
    if name not in SIZES:
        raise ValueError(f"sized: {name!r} is not one of {', '.join(SIZES)}.")
    return SIZES[name] if vocab is None else replace(SIZES[name], vocab=vocab)


def gpt2() -> Decoder:
    """The smallest GPT-2: 124,439,808 parameters, with its biases and without its dropout of 0.1."""
    return SIZES["gpt2"]
