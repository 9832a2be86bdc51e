"""A composition for the eye: its parts without what is as usual, and the state it keeps on a network of reference."""

from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

import torch

from adamantine.nets.decoder import Decoder
from adamantine.optim.lr import Lr
from adamantine.optim.unfused import Unfused
from adamantine.part import Chain, Part
from adamantine.role import Is, bind
from adamantine.route import Route
from adamantine.tree import Params, size

GPT2 = Decoder(vocab=50257, context=1024, width=768, depth=12, heads=12, bias=True)


def text(part: Part, lr: float) -> str:
    """The expression that builds `part`, fields at their defaults left out and rates in units of `lr`."""
    return _text(part, lr)


def _text(x: Any, lr: float) -> str:
    if isinstance(x, Chain):
        return " >> ".join(_text(y, lr) for y in x.parts) or "Chain()"
    if isinstance(x, Is):
        return f"Is({', '.join(x.roles)})"
    if is_dataclass(x) and not isinstance(x, type):
        given = [(f, getattr(x, f.name)) for f in fields(x) if f.repr and f.name != "tags"]
        rate = "size" if isinstance(x, Lr) else "lr"
        said = [(f, _rate(v, lr) if f.name == rate else _text(v, lr)) for f, v in given if _said(f, v)]
        shown = [v if f.default is MISSING else f"{f.name}={v}" for f, v in said]
        return f"{type(x).__name__}({', '.join(shown)})"
    if isinstance(x, tuple):
        return f"({', '.join(_text(y, lr) for y in x)}{',' * (len(x) == 1)})"
    if isinstance(x, float):
        return f"{x:g}"
    return getattr(x, "__qualname__", None) or repr(x)


def _rate(x: float, lr: float) -> str:
    factor = x / lr
    return "lr" if abs(factor - 1) < 1e-12 else f"{factor:.6g} lr"


def _said(f: Field, value: Any) -> bool:
    """Whether the field must be shown: a required one, one that differs, and what a wrapper wraps."""
    return isinstance(value, Part) or f.default is MISSING or value != f.default


def network() -> Params:
    """The tensors of GPT-2 (124 million, float32), without memory."""
    with torch.device("meta"):
        return {k: torch.empty(shape) for k, shape in GPT2.shapes().items()}


def hidden(part: Part) -> Part:
    """What `part` is to a hidden matrix: inside `Unfused`, the branch that each `Route` in its chain takes for one."""
    name, x = next((k, x) for k, x in network().items() if k.endswith("up"))
    if isinstance(part, Unfused):  # this network's is not fused: it is its own part
        return hidden(part.inner)
    if isinstance(part, Route):
        bound = bind(part, GPT2.tags())
        assert isinstance(bound, Route)
        return hidden(part.yes if bound.where(name, x) else part.no)
    if isinstance(part, Chain):
        return Chain(tuple(hidden(x) for x in part.parts))
    return part


def bytes_per_parameter(part: Part) -> float:
    """Bytes of state for every parameter of GPT-2 (124 million, float32), as the part declares them."""
    w = network()
    return bind(part, GPT2.tags()).state_bytes(w) / size(w)
