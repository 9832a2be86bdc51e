"""The matrices of a module, and which of them give its outputs."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from adamantine.role import Cut, Tag


@dataclass(frozen=True)
class Layer:
    """A matrix `[outs, ins]` (or a stack of `experts`) called `key` of the layer `name`, a child of `parent`."""

    name: str
    key: str
    outs: int
    ins: int
    transposed: bool = False
    experts: int = 0

    @property
    def parent(self) -> str:
        """Name of the module that has this layer."""
        return self.name.rpartition(".")[0]

    @property
    def own(self) -> str:
        """The last word of the name."""
        return self.name.rpartition(".")[2]

    def tag(self, role: str, heads: int = 0, cuts: tuple[Cut, ...] = ()) -> Tag:
        """A tag with this layer's storage."""
        return Tag(role, cuts, heads, self.transposed, experts=self.experts)


@dataclass(frozen=True)
class Found:
    """A tag and the reason for it, or for its lack."""

    tag: Tag
    reason: str


def kind(module: nn.Module) -> str:
    """The name of its class."""
    return type(module).__name__


def within(name: str, scope: str) -> bool:
    """Whether the layer `name` lies in the module `scope` ("" is the whole)."""
    return not scope or name.startswith(f"{scope}.")


def ancestors(name: str) -> Iterator[str]:
    """The names of the modules around `name`, from itself to the whole ""."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""


def layers_of(model: nn.Module, named: dict[str, Any]) -> list[Layer]:
    """Every matrix that multiplies activations: linear layers, Hugging Face's Conv1D, stacks of experts, routers."""
    out = []
    for name, module in model.named_modules():
        at = f"{name}." if name else ""
        if isinstance(module, nn.Linear) and f"{at}weight" in named:
            n, m = module.weight.shape
            out.append(Layer(name, f"{at}weight", n, m))
        elif kind(module) == "Conv1D" and hasattr(module, "nf") and f"{at}weight" in named:
            m, n = named[f"{at}weight"].shape
            out.append(Layer(name, f"{at}weight", n, m, True))
        elif "router" in kind(module).lower() and f"{at}weight" in named and named[f"{at}weight"].ndim == 2:
            n, m = named[f"{at}weight"].shape
            out.append(Layer(name, f"{at}weight", n, m))
        own = [(k, x) for k, x in module._parameters.items() if x is not None and x.ndim == 3 and f"{at}{k}" in named]
        stacks = [(k, x) for k, x in own if "_proj" in k and "expert" in kind(module).lower()]
        # A stack stored [experts, in, out] (its down then [experts, ff, d]) fits no pair here, and is asked about.
        for (a, x), (b, y) in pairwise(stacks):
            if len(stacks) == 2 and x.shape[2] == y.shape[1] and x.shape[1] in (y.shape[2], 2 * y.shape[2]):
                out += [
                    Layer(f"{at}{k}", f"{at}{k}", z.shape[1], z.shape[2], experts=len(z)) for k, z in ((a, x), (b, y))
                ]
    return out


# Layers that tell what a model takes, the plainest sign first.
INPUTS: tuple[Any, ...] = (nn.Embedding, nn.Conv2d, nn.Linear, nn.MultiheadAttention)


@dataclass(frozen=True)
class Trial:
    """One forward pass on `inputs`: the layers used, in order, and those whose output is an output of the whole."""

    used: tuple[str, ...] = ()
    last: frozenset[str] = frozenset()
    inputs: Any = None


@contextlib.contextmanager
def quietly(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients, warnings, or any trace of it afterwards."""
    modes = {m: m.training for m in model.modules()}
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for m, mode in modes.items():
            m.training = mode


def called(model: nn.Module, inputs: Any) -> Any:
    """The model on a tensor, a tuple of arguments or a dict of named ones."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def trial(model: nn.Module, inputs: Any = None) -> Trial | None:
    """A forward pass on `inputs`, or on zeros of a likely shape; None where none of them works."""
    with quietly(model):
        if inputs is not None:
            return _forward(model, inputs)
        for guess in _guesses(model):
            # Whatever goes wrong inside somebody's forward, this was only a guess at its inputs.
            with contextlib.suppress(Exception):
                return _forward(model, guess)
    return None


def _forward(model: nn.Module, inputs: Any) -> Trial:
    used: list[tuple[str, int]] = []
    # Kept so that no storage is freed and its address given to another; with the version, so that what is later
    # changed in place, as a residual stream is, does not pass for the layer's output.
    kept: list[tuple[Tensor, int]] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, given: Any, out: Any) -> None:
            if isinstance(out, Tensor):
                kept.append((out, out._version))
                used.append((name, out.untyped_storage()._cdata))

        return hook

    holders = [(k, m) for k, m in model.named_modules() if any(x is not None for x in m._parameters.values())]
    handles = [m.register_forward_hook(note(k)) for k, m in holders]
    try:
        out = called(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    leaves = tree_leaves(out.to_tuple() if hasattr(out, "to_tuple") else out)
    ends = {x.untyped_storage()._cdata for x in leaves if isinstance(x, Tensor)}
    same = [x._version == version for x, version in kept]
    last = frozenset(k for (k, storage), kept_as in zip(used, same, strict=True) if kept_as and storage in ends)
    return Trial(tuple(k for k, _ in used), last, inputs)


def _guesses(model: nn.Module) -> Iterator[Any]:
    """Inputs of zeros that the model may take, the likeliest first."""
    first = next(iter(model.parameters()))
    where: dict[str, Any] = {"device": first.device}
    real = {**where, "dtype": first.dtype}
    tokens = torch.zeros(1, 4, dtype=torch.long, **where)
    config = getattr(model, "config", None)
    if hasattr(model, "main_input_name"):
        side = getattr(config, "image_size", None) or 64
        pixels = torch.zeros(1, getattr(config, "num_channels", None) or 3, side, side, **real)
        texts = {"input_ids": tokens} | (
            {"decoder_input_ids": tokens} if getattr(config, "is_encoder_decoder", False) else {}
        )
        yield texts if "pixel" not in str(model.main_input_name) else {"pixel_values": pixels}
        yield {"input_ids": tokens, "pixel_values": pixels}
        return
    first_of: dict[Any, Any] = {t: next((m for m in model.modules() if isinstance(m, t)), None) for t in INPUTS}
    if first_of[nn.Embedding] is not None:
        yield from (tokens, (tokens, tokens), tokens[:, :1])
    if (m := first_of[nn.Conv2d]) is not None:
        for side in (32, 224, 28, 8):
            x, t = torch.zeros(2, m.in_channels, side, side, **real), torch.zeros(2, **real)
            yield from (x, (x, t), (x, t.long()))
    if (m := first_of[nn.Linear]) is not None:
        x = torch.zeros(2, m.in_features, **real)
        yield from (x, x[:, None].expand(2, 4, -1), (x[None], x[None]), x.view(2, 1, 1, -1))
    if (m := first_of[nn.MultiheadAttention]) is not None:
        x = torch.zeros(2, 2, m.embed_dim, **real)
        yield from (x, (x, x), (x, x, x))
