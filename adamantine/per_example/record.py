"""The operations that parameters go into, recorded while a function of them runs."""

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from adamantine.tree import Params

SAME, TURNED, MOVED, OTHER = "same", "turned", "moved", "other"
CASTS = {"to", "float", "double", "half", "bfloat16", "type", "type_as", "clone", "contiguous", "alias"}
MOVES = {"view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "transpose", "permute", "t", "view_as"}
MOVES |= {"swapaxes", "swapdims", "movedim", "moveaxis", "reshape_as", "ravel", "__get__", "__getitem__"}
TEMPLATES = {"to", "type_as", "view_as", "reshape_as", "expand_as"}  # of their second tensor, only the kind counts
BROADCASTS = {"expand", "expand_as", "broadcast_to"}
OVERRIDE_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")

LINEAR = ("input", "weight", "bias")
CONV = (*LINEAR, "stride", "padding", "dilation", "groups")
CONV_TRANSPOSE = (*LINEAR, "stride", "padding", "output_padding", "groups", "dilation")
LOOKUP = ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")
BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
PAIR = ("input", "other")
# The names of the arguments, by the name of the function: what there is a rule for.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "linear": LINEAR,
    "addmm": ("input", "mat1", "mat2"),
    "conv1d": CONV,
    "conv2d": CONV,
    "conv3d": CONV,
    "conv_transpose1d": CONV_TRANSPOSE,
    "conv_transpose2d": CONV_TRANSPOSE,
    "conv_transpose3d": CONV_TRANSPOSE,
    "embedding": ("input", "weight", *LOOKUP),
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "rms_norm": ("input", "normalized_shape", "weight", "eps"),
    "group_norm": ("input", "num_groups", "weight", "bias", "eps"),
    "batch_norm": BATCH_NORM,
    "instance_norm": (*BATCH_NORM[:5], "use_input_stats", *BATCH_NORM[6:]),
    "cat": ("tensors", "dim"),
    "__getitem__": ("input", "index"),
}
ARGUMENTS |= dict.fromkeys(("matmul", "mm", "__matmul__", "add", "__add__", "__radd__", "add_", "__iadd__"), PAIR)
ARGUMENTS |= dict.fromkeys(("mul", "__mul__", "__rmul__", "multiply", "sub", "__sub__", "__rsub__", "subtract"), PAIR)
ARGUMENTS |= dict.fromkeys(("div", "__truediv__", "divide", "true_divide"), PAIR)


@dataclass(frozen=True, eq=False)
class Source:
    """A tensor computed from the parameters `names` alone, and how: a parameter itself, turned (a transposed matrix),
    moved (its entries in another shape), or anything else.
    """

    tensor: Tensor
    names: tuple[str, ...]
    how: str = SAME


@dataclass(frozen=True, eq=False)
class Operation:
    """A call of `name` with `given` arguments, `sources` in some of their places, and a result of `shape`."""

    name: str
    given: dict[str, Any]
    sources: tuple[tuple[str, Source], ...]
    edge: GradientEdge
    shape: torch.Size

    def signature(self) -> tuple:
        """What the layout of the result depends on, as numbers and words."""
        shapes = tuple((k, tuple(x.shape)) for k, x in self.given.items() if isinstance(x, Tensor))
        return self.name, tuple(self.shape), shapes, tuple((k, s.names, s.how) for k, s in self.sources)


@dataclass(eq=False)
class Record(TorchFunctionMode):
    """Inside `with`, notes every operation that brings a parameter together with data, in `operations`.

    Data are the tensors of `batch` and what is computed from them. `lost` names the parameters that went, with data,
    into an operation without a rule. `coupled` says that batch normalization took its statistics from the batch.
    """

    w: Params
    batch: Any
    operations: list[Operation] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    coupled: bool = False

    def __post_init__(self) -> None:
        """Know the parameters and the data."""
        super().__init__()
        self.known = {id(x): Source(x, (k,)) for k, x in self.w.items()}
        # Held, so that no other tensor takes their place in memory and with it their identity.
        self.held: list[Tensor] = []
        self.data = {id(x): x for x in tree_leaves(self.batch) if isinstance(x, Tensor)}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, and note it if a parameter is among its arguments."""
        kwargs = kwargs or {}
        sources, data = [], False
        name = getattr(func, "__name__", "")
        for x in _tensors(args[:1] if name in TEMPLATES else args, kwargs):
            source = self.known.get(id(x))
            if source is not None:
                sources.append(source)
            elif x.requires_grad or id(x) in self.data:
                data = True
        if name == "batch_norm" and _bound(func, args, kwargs).get("training"):
            self.coupled = True
        if not sources:
            out = func(*args, **kwargs)
            if data:
                self._touched(out)
            return out
        if not data:
            out = func(*args, **kwargs)
            self._derive(name, sources, out)
            return out
        if name not in ARGUMENTS:
            inner = _opened(func)
            if inner is not None:
                with self:
                    return inner(*args, **kwargs)
        out = func(*args, **kwargs)
        self._touched(out)
        self._note(func, name, args, kwargs, sources, out)
        return out

    def _touched(self, out: Any) -> None:
        """Whatever has a gradient and is no function of the parameters alone is data; the rest is to be held."""
        for x in (out,) if isinstance(out, Tensor) else _tensors((out,), {}):
            if not x.requires_grad:
                self.data[id(x)] = x

    def _derive(self, name: str, sources: list[Source], out: Any) -> None:
        names = tuple(dict.fromkeys(k for s in sources for k in s.names))
        for x in (out,) if isinstance(out, Tensor) else _tensors((out,), {}):
            if not x.requires_grad or id(x) in self.known:
                continue
            if name in BROADCASTS:
                # Addition and the like broadcast by themselves: what was not yet is known better.
                self.known[id(x)] = Source(sources[0].tensor, names, sources[0].how)
                self.held.append(x)
            else:
                self.known[id(x)] = Source(x, names, _how(name, sources, x))

    def _note(self, func: Any, name: str, args: Any, kwargs: Any, sources: list[Source], out: Any) -> None:
        names = {k for s in sources for k in s.names}
        if not isinstance(out, Tensor) or name not in ARGUMENTS or not _rows(name, args, sources):
            self.lost |= names
        elif out.requires_grad:
            given = _bound(func, args, kwargs)
            placed = tuple(self._placed(given))
            if len(placed) != len(sources):
                self.lost |= names
            self.operations.append(Operation(name, given, placed, get_gradient_edge(out), out.shape))

    def _placed(self, given: dict[str, Any]) -> Iterator[tuple[str, Source]]:
        for k, x in given.items():
            for i, y in enumerate(x if k == "tensors" else (x,)):
                source = self.known.get(id(y)) if isinstance(y, Tensor) else None
                if source is not None:
                    yield f"{i}" if k == "tensors" else k, source


def _rows(name: str, args: Any, sources: list[Source]) -> bool:
    """Whether an index, if it is one, takes rows of a matrix for the examples, and not a matrix for all of them."""
    if name != "__getitem__":
        return True
    index = args[1][0] if isinstance(args[1], tuple) and len(args[1]) == 1 else args[1]
    return isinstance(index, Tensor) and index.ndim > 0 and sources[0].tensor.ndim <= 2


def _tensors(args: Any, kwargs: dict[str, Any]) -> Iterator[Tensor]:
    for x in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, (tuple, list)):
            yield from _tensors(x, {})


def _bound(func: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name."""
    names = ARGUMENTS[func.__name__]
    # The functions of torch itself have another order than those of torch.nn.functional.
    if func is torch.embedding:
        names = ("weight", "input", *LOOKUP[:1])
        args = args[:2] if args[2:3] == (-1,) else args
    elif func is torch.batch_norm:
        names = ("input", "weight", "bias", "running_mean", "running_var", *BATCH_NORM[5:])
    return dict(zip(names, args, strict=False)) | kwargs


def _how(name: str, sources: list[Source], x: Tensor) -> str:
    how, before = sources[0].how, sources[0].tensor
    if len(sources) > 1 or x.numel() != before.numel():
        return OTHER
    if name in CASTS and x.shape == before.shape:
        return how
    if name not in MOVES or how == OTHER:
        return OTHER
    if (x.shape, x.stride(), x.data_ptr()) == (before.shape, before.stride(), before.data_ptr()):
        return how
    if name == "__getitem__":
        return OTHER
    if before.ndim == 2 and how != MOVED and (x.shape, x.stride()) == (before.shape[::-1], before.stride()[::-1]):
        return SAME if how == TURNED else TURNED
    return MOVED


@lru_cache(maxsize=256)
def _opened(func: Any) -> Callable[..., Any] | None:
    """A function written in Python, without the question at its start whether somebody else wants to run it.

    What it calls can then be recorded. None where the function is not of that kind.
    """
    code = getattr(func, "__code__", None)
    if code is None or not set(code.co_names) & set(OVERRIDE_CHECKS) or func is F.embedding:
        return None
    names = {**func.__globals__, **dict.fromkeys(OVERRIDE_CHECKS, _nobody)}
    inner = types.FunctionType(code, names, func.__name__, func.__defaults__, func.__closure__)
    inner.__kwdefaults__ = func.__kwdefaults__
    return inner


def _nobody(*_: Any) -> bool:
    return False
