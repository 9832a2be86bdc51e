"""Which tensor of a `torch.nn.Module` has which role: from types, shapes and siblings, and asked for where unsure.

Every other program matches names here, and fails silently where they do not fit: an output projection without the
word for it, a feed-forward layer called "output". Here a name is evidence only beside shapes that agree.
"""

import difflib
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from adamantine.role import ROLES, Cut, Tag, Tags
from adamantine.tag_blocks import HEADS, Blocks, whole_number
from adamantine.tag_layers import Found, Layer, Trial, ancestors, kind, layers_of, trial

_CONV = nn.modules.conv._ConvNd
_NORMS = (nn.LayerNorm, nn.modules.batchnorm._NormBase, nn.GroupNorm)


def tag(model: nn.Module, roles: dict[str, str | Tag] | None = None, inputs: Any = None) -> Tags:
    """The role of every tensor of `model`, by its name in `named_parameters()` (tied ones once).

    `roles` says what cannot be told, or corrects: patterns of names (`"*.fc_a.weight"`, as in `fnmatch`) with a role, a
    fused one such as "query+key+value" of parts equal in size, or a `Tag`; later patterns win. Which layer gives the
    outputs is seen in a forward pass on `inputs`, a tensor, tuple or dict, or without them on zeros of a likely shape.
    What remains unknown has the role "?": `Tags` refuses to be asked for it, and `print_table` says why.

    Raises ValueError for a pattern that fits no name, and a role that is none.
    """
    found = read(model, inputs)
    tags = {k: x.tag for k, x in found.items()}
    for pattern, role in (roles or {}).items():
        names = [k for k in tags if fnmatchcase(k, pattern)]
        if not names:
            near = difflib.get_close_matches(pattern, tags, 3, 0.3) or list(tags)[:3]
            raise ValueError(f"tag: no parameter is called {pattern!r}; the nearest are {', '.join(near)}.")
        shapes = dict(model.named_parameters())
        for name in names:
            tags[name] = role if isinstance(role, Tag) else _given(model, name, shapes[name], tags[name], role)
    return Tags(tuple(tags.items()))


def _given(model: nn.Module, name: str, x: Tensor, old: Tag, role: str) -> Tag:
    """The tag that a word says, with the storage and the number of heads that the module has."""
    for word in role.split("+"):
        if word not in ROLES:
            near = difflib.get_close_matches(word, ROLES, 3, 0.5) or list(ROLES)
            raise ValueError(f"tag: role {word!r} for {name!r} is unknown; the nearest are {', '.join(near)}.")
    words, outs = role.split("+"), x.shape[-1 if old.transposed else 1 if old.experts else 0] if x.ndim else 1
    if outs % len(words):
        raise ValueError(f"tag: {name!r} has {outs} outputs, not {len(words)} equal parts; give a Tag with its cuts.")
    modules, size = dict(model.named_modules()), outs // len(words)
    owners = (*(modules[a] for a in ancestors(name.rpartition(".")[0])), getattr(model, "config", None))
    heads = whole_number(owners, HEADS)
    fits = heads and size % heads == 0
    by = {word: heads if fits and word in ("query", "key", "value", "output") else 0 for word in words}
    if len(words) == 1:
        return replace(old, role=role, cuts=(), heads=by[role] or (old.heads if old.role == role else 0))
    return replace(old, role=role, heads=0, cuts=tuple(Cut(word, size, by[word]) for word in words))


def read(model: nn.Module, inputs: Any = None) -> dict[str, Found]:
    """A tag with its reason for every parameter."""
    named: dict[str, Tensor] = dict(model.named_parameters())
    modules = dict(model.named_modules())
    owners: dict[int, list[tuple[str, nn.Module]]] = {}
    for full, x in model.named_parameters(remove_duplicate=False):
        path, _, attribute = full.rpartition(".")
        owners.setdefault(id(x), []).append((attribute, modules[path]))
    found = {}
    convolutions: list[Any] = [m for m in modules.values() if isinstance(m, _CONV)]
    for name, x in named.items():
        told = _told(name, x, owners[id(x)], convolutions)
        if told is not None:
            found[name] = told
    layers = [x for x in layers_of(model, named) if x.key not in found]
    run = trial(model, inputs)
    blocks = Blocks(model, layers, run)
    blocks.attention()
    heads = _heads(model, run, layers, blocks)
    found |= {k: x for k, x in heads.items() if k in named}
    blocks.found |= heads
    blocks.feed_forward()
    for layer in blocks.rest(""):
        blocks.found[layer.key] = _left(model, layer, run, bool(heads))
    found |= {k: x for k, x in blocks.found.items() if k in named}
    ask = "nothing about its type or shape tells what it is"
    return {k: found.get(k) or Found(Tag("?"), f"{kind(modules[k.rpartition('.')[0]])}: {ask}") for k in named}


def _told(name: str, x: Tensor, owners: list[tuple[str, nn.Module]], convolutions: list[Any]) -> Found | None:
    """What the type of a module says about its parameter; None for the matrices of blocks, and the unknown."""
    embedding = next((m for _, m in owners if isinstance(m, (nn.Embedding, nn.EmbeddingBag))), None)
    if embedding is not None:
        tied = any(isinstance(m, nn.Linear) for _, m in owners)
        position = re.search(r"pos|wpe|relative_attention", name.rpartition(".")[0], re.I)
        if position and not tied:
            return Found(Tag("position"), f"{kind(embedding)} of {len(x)} positions")
        said = ", also the weight of a linear layer" if tied else ""
        return Found(Tag("embedding", tied=tied), f"{kind(embedding)} of {len(x)} rows{said}")
    attribute, module = owners[0]
    if isinstance(module, nn.RNNBase) and attribute.startswith("weight"):
        gates = len(x) // module.hidden_size
        cuts = tuple(Cut("matrix", module.hidden_size) for _ in range(gates)) if gates > 1 else ()
        return Found(Tag("+".join(["matrix"] * gates), cuts), f"{kind(module)}: {gates} gates")
    if isinstance(module, _CONV) and attribute == "weight":
        return _convolution(module, convolutions)
    if isinstance(module, nn.MultiheadAttention) and attribute in ("bias_k", "bias_v"):
        return Found(Tag("token"), "a learned key or value of MultiheadAttention")
    if re.search(r"(^|_)bias(_|$)", attribute) and x.ndim <= (2 if "expert" in kind(module).lower() else 1):
        return Found(Tag("bias"), f"{attribute} of {kind(module)}")
    if (isinstance(module, _NORMS) or "norm" in kind(module).lower()) and x.ndim <= 1:
        return Found(Tag("norm"), f"{attribute} of {kind(module)}")
    if isinstance(module, nn.PReLU):
        return Found(Tag("gain"), "slopes of PReLU")
    return None if isinstance(module, nn.Linear) else _direct(attribute, x, module)


def _convolution(module: Any, convolutions: list[Any]) -> Found:
    size, stride = module.kernel_size, module.stride
    cuts = module is convolutions[0] and size == stride and max(size) > 1 and not any(map(bool, module.padding))
    shape = " x ".join(map(str, size))
    turned = bool(module.transposed) and module.groups == 1
    if cuts and module.padding != "same":
        return Found(Tag("patch"), f"{kind(module)}: the first, {shape} in steps of its own size")
    return Found(Tag("convolution", transposed=turned), f"{kind(module)}, {shape}")


def _direct(attribute: str, x: Tensor, module: nn.Module) -> Found | None:
    """Parameters that a module has without a layer: positions, tokens and gains, by name and shape together."""
    long = [n for n in x.shape if n > 1]
    of = f"{attribute} of {kind(module)}, {' x '.join(map(str, x.shape)) or 'a scalar'}"
    if re.search("pos", attribute, re.I) and len(long) >= 2:
        return Found(Tag("position"), of)
    if re.search("token|cls|class_emb", attribute, re.I) and x.ndim in (1, 2, 3) and len(long) <= 1:
        return Found(Tag("token"), of)
    if re.search("scale|gamma|gain|temperature|lambda", attribute, re.I) and len(long) <= 1:
        return Found(Tag("gain"), of)
    return None


def _heads(model: Any, run: Trial | None, layers: list[Layer], blocks: Blocks) -> dict[str, Found]:
    """The layers that give the outputs."""
    out, modules = {}, blocks.modules
    logits = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    ends = run.last if run else frozenset()
    for layer in layers:
        if layer.key in blocks.found:
            continue
        module = modules.get(layer.name)
        if module is not None and (module is logits or layer.name in ends):
            seen = "its output is the model's" if layer.name in ends else "the model's output embeddings"
            out[layer.key] = Found(layer.tag("head"), f"{kind(module)}: {seen}")
    for name in ends:
        if isinstance(modules[name], _CONV):
            out[f"{name}.weight"] = Found(Tag("head"), f"{kind(modules[name])}: its output is the model's")
    last = [k for k, m in modules.items() if isinstance(m, (nn.Linear, _CONV))][-1:]
    if not out and isinstance(model, nn.Sequential) and last and f"{last[0]}.weight" not in blocks.found:
        out[f"{last[0]}.weight"] = Found(Tag("head"), f"{kind(modules[last[0]])}: the last layer of a Sequential")
    return out


def _last(model: nn.Module, run: Trial) -> str:
    modules = dict(model.named_modules())
    return next((k for k in reversed(run.used) if isinstance(modules[k], (nn.Linear, _CONV))), "")


def _left(model: nn.Module, layer: Layer, run: Trial | None, ended: bool) -> Found:
    """A layer outside every block: hidden, if the outputs come from elsewhere."""
    if run is None:
        why = "perhaps the head, which a forward pass would show: give inputs, as in tag(model, inputs=batch)"
        return Found(layer.tag("?"), why)
    if layer.name not in run.used:
        return Found(layer.tag("?"), "took no part in the trial forward pass; give inputs that use it")
    if not ended and not hasattr(model, "get_output_embeddings") and _last(model, run) == layer.name:
        return Found(layer.tag("?"), "the last layer used, but something follows before the output: head or matrix")
    return Found(layer.tag("matrix"), "a layer between others")
