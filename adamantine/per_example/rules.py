"""What an operation makes of the gradient with respect to its result: the gradient of its parameter, by example.

A rule answers with a term, or None where it does not apply. `d` has the shape of the result; a layout tells whose
entry is whose.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.per_example.layout import Layout
from adamantine.per_example.record import Operation
from adamantine.per_example.terms import Dense, Filters, Lookup, Outer, Own, Term

PRODUCTS = {"matmul", "mm", "__matmul__"}
SUMS = {"add", "__add__", "__radd__", "add_", "__iadd__"}
DIFFERENCES = {"sub", "__sub__", "subtract", "__rsub__"}
FACTORS = {"mul", "__mul__", "__rmul__", "multiply"}
QUOTIENTS = {"div", "__truediv__", "divide", "true_divide"}
NORMS = {"layer_norm", "rms_norm", "group_norm", "batch_norm", "instance_norm"}


def term(op: Operation, slot: str, theta: Tensor, d: Tensor, layout: Layout) -> Term | None:
    """What the use of `theta` as the argument `slot` of `op` adds to its gradient."""
    given, name = op.given, op.name
    if name == "linear":
        return _linear(given["input"], slot, theta, d, layout)
    if name == "addmm":
        if (given.get("alpha", 1), given.get("beta", 1)) != (1, 1):
            return None
        return (
            _broadcast(theta, d, layout) if slot == "input" else _product(given["mat1"], given["mat2"], slot, d, layout)
        )
    if name in PRODUCTS:
        return _product(given["input"], given["other"], {"input": "mat1", "other": "mat2"}[slot], d, layout)
    if name.startswith("conv"):
        return _convolution(op, slot, theta, d, layout)
    if name == "embedding":
        return _embedding(given, theta, d, layout)
    if name == "__getitem__":
        return _indexed(given["index"], theta, d, layout)
    if name in NORMS:
        return _norm(op, slot, theta, d, layout)
    if name == "cat":
        return _cat(given, int(slot), theta, d, layout)
    return _elementwise(op, slot, theta, d, layout)


def _tokens(x: Tensor, layout: Layout, like: Tensor) -> Tensor:
    """`[B, T, features]` of `[..., features]`."""
    if layout.axis == 0 and len(x) == layout.examples * layout.inner:
        return x.reshape(layout.examples, -1, x.shape[-1]).to(like.dtype)
    return layout.lead(x).reshape(layout.examples, -1, x.shape[-1]).to(like.dtype)


def _linear(x: Tensor, slot: str, theta: Tensor, d: Tensor, layout: Layout) -> Term | None:
    if slot == "input" or (layout.examples > 1 and layout.axis == d.ndim - 1):
        return None
    rows = _tokens(d, layout, theta)
    if slot == "bias":
        return Dense(rows.sum(1) if rows.shape[1] > 1 else rows[:, 0])
    return Outer(rows, _tokens(x, layout, theta), tuple(theta.shape))


def _product(a: Tensor, b: Tensor, slot: str, d: Tensor, layout: Layout) -> Term | None:
    """Of `a @ b`, `mat1` and `mat2`."""
    if slot == "mat1":
        if a.ndim == b.ndim == 1:
            return _scaled(b, d[..., None], a, layout)
        if a.ndim == 2 and b.ndim == 2:
            turned = Layout(layout.examples, 1 - layout.axis, layout.inner)
            found = _product(b.T, a.T, "mat2", d.T, turned)
            return found.turned() if isinstance(found, Outer) else None
        return None
    if b.ndim == 1:
        return _scaled(a, d[..., None], b, layout)
    if b.ndim != 2 or a.ndim < 2 or (layout.examples > 1 and layout.axis == d.ndim - 1):
        return None
    return Outer(_tokens(a, layout, b), _tokens(d, layout, b), tuple(b.shape))


def _scaled(factor: Tensor, d: Tensor, theta: Tensor, layout: Layout) -> Term | None:
    """Of `theta` times `factor`, broadcast."""
    return _broadcast(theta, d.to(theta.dtype) * factor, layout)


def _broadcast(theta: Tensor, d: Tensor, layout: Layout) -> Term | None:
    """Of `theta` broadcast to the shape of `d`."""
    missing = d.ndim - theta.ndim
    if missing < 0:
        return None
    own = (*[1] * missing, *theta.shape)
    led = layout.lead(d.to(theta.dtype))
    axes = [i for i, n in enumerate(own) if n == 1]
    if layout.examples > 1:
        if own[layout.axis] != 1:
            many = d.to(theta.dtype)
            many = many.sum(axes, keepdim=True) if axes else many
            return Own(many.reshape(theta.shape), Layout(layout.examples, layout.axis - missing, layout.inner))
        # The axis of examples has become two, and stands before both.
        axes = (
            [i for i in axes if i < layout.axis]
            + [layout.axis, layout.axis + 1]
            + [i + 1 for i in axes if i > layout.axis]
        )
    if axes:
        led = led.sum([i + 1 for i in axes])
    return Dense(led.reshape(layout.examples, *theta.shape))


def _elementwise(op: Operation, slot: str, theta: Tensor, d: Tensor, layout: Layout) -> Term | None:
    a, b = op.given["input"], op.given["other"]
    other = b if slot == "input" else a
    if set(op.given) - {"input", "other"}:
        return None
    if op.name in SUMS:
        return _broadcast(theta, d, layout)
    if op.name in DIFFERENCES:
        positive = (slot == "input") != (op.name == "__rsub__")
        return _broadcast(theta, d if positive else -d, layout)
    if op.name in FACTORS:
        return _scaled(other, d, theta, layout)
    if op.name in QUOTIENTS:
        return _scaled(1 / b if slot == "input" else -a / theta.square(), d, theta, layout)
    return None


def _channels(x: Tensor, layout: Layout) -> Tensor:
    """`[B, R, C, ...]` of `[N, C, ...]`, where an example has `R` rows."""
    if layout.examples == 1:
        return x.unsqueeze(0)
    return layout.lead(x).flatten(1, 2)


def _convolution(op: Operation, slot: str, theta: Tensor, d: Tensor, layout: Layout) -> Term | None:
    given, dims = op.given, int(op.name[-2])
    x = given["input"]
    if x.ndim != dims + 2 or layout.axis != 0 or slot == "input":
        return None
    led = _channels(d.to(theta.dtype), layout)
    if slot == "bias":
        return Dense(led.sum([i for i in range(1, led.ndim) if i != 2]))
    stride, dilation = (_all(given.get(k, 1), dims) for k in ("stride", "dilation"))
    padding = given.get("padding", 0)
    if isinstance(padding, str):
        twice = [a * (n - 1) for a, n in zip(dilation, theta.shape[2:], strict=True)]
        if padding == "same" and any(n % 2 for n in twice):
            return None
        padding = [n // 2 for n in twice] if padding == "same" else 0
    padding, extra = _all(padding, dims), _all(given.get("output_padding", 0), dims)
    transposed, groups = "transpose" in op.name, given.get("groups", 1)
    plain = not transposed and groups == 1 and not any(padding) and set(stride) == {1} and set(theta.shape[2:]) == {1}
    taken = _channels(x.to(theta.dtype), layout)
    if plain:
        rows, cols = (y.movedim(2, -1).reshape(layout.examples, -1, y.shape[2]) for y in (led, taken))
        return Outer(rows, cols, tuple(theta.shape))
    return Filters(taken, led, theta.detach(), (stride, padding, dilation, transposed, extra, groups))


def _all(x: Any, dims: int) -> list[int]:
    x = [x] if isinstance(x, int) else list(x)
    return x * dims if len(x) == 1 else x


def _embedding(given: dict[str, Any], theta: Tensor, d: Tensor, layout: Layout) -> Term | None:
    if given.get("scale_grad_by_freq") or given.get("sparse") or given.get("max_norm") is not None:
        return None
    found = _indexed(given["input"], theta, d, layout)
    skipped = given.get("padding_idx")
    if isinstance(found, Lookup) and skipped is not None:
        keep = (found.ids != skipped % len(theta)).to(found.cols.dtype)
        return Lookup(found.ids, found.cols * keep[..., None], found.shape)
    return found


def _indexed(index: Any, theta: Tensor, d: Tensor, layout: Layout) -> Term | None:
    if isinstance(index, tuple) and len(index) == 1:
        index = index[0]
    if not isinstance(index, Tensor) or index.dtype not in (torch.int64, torch.int32) or theta.ndim not in (1, 2):
        return None
    wide = d if theta.ndim == 2 else d[..., None]
    if layout.examples > 1 and layout.axis >= index.ndim:
        return None
    ids = layout.lead(index).reshape(layout.examples, -1).long() % len(theta)
    return Lookup(ids, _tokens(wide, layout, theta), tuple(theta.shape))


def _norm(op: Operation, slot: str, theta: Tensor, d: Tensor, layout: Layout) -> Term | None:
    if slot == "input":
        return None
    given, name = op.given, op.name
    x = given["input"]
    if name in ("layer_norm", "rms_norm"):
        if slot == "weight":
            size, eps = given["normalized_shape"], given.get("eps", 1e-5 if name == "layer_norm" else None)
            x = x.to(theta.dtype)
            d = d.to(theta.dtype) * (
                F.layer_norm(x, size, eps=eps) if name == "layer_norm" else F.rms_norm(x, size, eps=eps)
            )
        return _broadcast(theta, d, layout)
    if slot == "weight":
        eps = given.get("eps", 1e-5)
        if name == "group_norm":
            normal = F.group_norm(x, given["num_groups"], eps=eps)
        elif name == "instance_norm":
            normal = F.instance_norm(x, eps=eps) if given.get("use_input_stats", True) else None
        else:
            normal = F.batch_norm(x, given["running_mean"], given["running_var"], eps=eps)
        if normal is None:
            return None
        d = d.to(theta.dtype) * normal
    # One number a channel, the second axis.
    found = _broadcast(theta.reshape(-1, *[1] * (d.ndim - 2)), d, layout)
    return None if found is None else Dense(found.each(slice(None)).flatten(1))


def _cat(given: dict[str, Any], at: int, theta: Tensor, d: Tensor, layout: Layout) -> Term | None:
    axis = given.get("dim", 0) % d.ndim
    if axis == layout.axis and layout.examples > 1:
        return None
    start = sum(x.shape[axis] for x in given["tensors"][:at])
    return _broadcast(theta, d.narrow(axis, start, given["tensors"][at].shape[axis]), layout)
