"""A chain of parts in C as one pass over the weights: compiled once, and run.

Every tensor is seen as `rows x columns` (`x.flatten(1)`). Where parts need means over columns or over the tensor, a
pass over the gradient precedes; means over rows alone are taken on the way, while the row is in the cache.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamantine import compiler, kernel_text
from adamantine.kernel import Code, Fused, Packed
from adamantine.kernel_text import HEAD
from adamantine.tree import Params

CHUNK = 1 << 15  # coordinates a task: long enough to hide its start, short enough to balance the threads
WHOLE = 1 << 18  # a tensor up to this size is one thread's, so that its passes meet it in the cache
TYPES = {torch.float32: "float", torch.float64: "double"}


@functools.lru_cache(maxsize=256)
def _function(codes: tuple[Code, ...], dtype: torch.dtype, store: bool) -> Callable[..., Any] | None:
    found = compiler.library(kernel_text.text(codes, TYPES[dtype], store))
    return None if found is None else found.step


@functools.lru_cache(maxsize=256)
def _plan(
    codes: tuple[Code, ...], shapes: tuple[torch.Size, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """`(rows, columns)` of each tensor, the tasks, the tensors that all threads share, and the scratch's sizes."""
    means = kernel_text.shapes(codes)
    passes = bool(means) and not kernel_text.in_line(codes)
    views, tasks, bigs = [], [], []
    for i, shape in enumerate(shapes):
        n = shape.numel()
        rows, cols = (shape[0], n // max(1, shape[0])) if len(shape) > 1 else (1, n)
        if len(shape) < 2 and "column" in means:
            rows, cols = n, 1  # a vector is one block: the mean over its only column is over all of it
        if not means:
            rows, cols = 1, n
        views.append((rows, cols))
        if n == 0:
            continue
        if passes and n > WHOLE:
            bigs.append(i)
        elif passes:
            tasks.append((i, 0, rows, 0, cols))
        elif means:
            height = max(1, CHUNK // cols)
            tasks += [(i, a, min(a + height, rows), 0, cols) for a in range(0, rows, height)]
        else:
            tasks += [(i, 0, 1, a, min(a + CHUNK, n)) for a in range(0, n, CHUNK)]
    across, by_row = kernel_text.outs(codes)
    zeroed = max((across * (c + 1) for _, c in views), default=0)
    width = zeroed + max((across * (c + 1) + by_row * r for r, c in views), default=0) if passes else 0
    return np.array(views, np.int64), np.array(tasks, np.int64).reshape(-1, 5), np.array(bigs, np.int64), zeroed, width


def fits(before: Sequence[Code], code: Code) -> bool:
    """Whether `code` can be part of the same pass as the codes `before` it."""
    codes = [*before, code]
    packed = {shape.block for c in codes for _, shape in c.arrays if isinstance(shape, Packed)}
    if packed and (len(packed) > 1 or any(c.means for c in codes)):
        return False
    # A vector is a row to the one and a column to the other.
    each = [{m.shape for m in c.means} for c in codes]
    return not (any("column" in x for x in each) and any("row" in x and "column" not in x for x in each))


def run(parts: Sequence[Fused], w: Params, u: Params, g: Params, out: Params) -> bool:
    """Pass the direction `u` through `parts` and write it to `out`; where `out` is `w`, subtract it from the weights.

    All tensors, the parts' arrays among them, must be plain ones of one type. False, with nothing changed, where they
    are not on the CPU, lie differently in memory, or no kernel can be had.
    """
    first = next(iter(w.values()))
    codes = tuple(x.code for x in parts)
    if first.dtype not in TYPES or first.device.type != "cpu":
        return False
    function = _function(codes, first.dtype, out is not w)
    if function is None:
        return False
    arrays = [a for x in parts for a in x.arrays]
    if not _alike(codes, w, [u, g, out, *arrays]):
        return False
    views, tasks, bigs, zeroed, width = _plan(codes, tuple(x.shape for x in w.values()))
    items = np.empty((len(w), HEAD + len(arrays)), np.int64)
    for j, column in ((0, w), (1, u), (2, g), (5, out), *enumerate(arrays, HEAD)):
        items[:, j] = [column[k].data_ptr() for k in w]
    items[:, 3:5] = views
    numbers = np.array([n for x in parts for n in x.numbers], np.float64)
    threads = torch.get_num_threads() if len(bigs) else min(torch.get_num_threads(), max(1, len(tasks)))
    scratch = np.empty(threads * width)
    given = [items, numbers, len(tasks), tasks, len(bigs), bigs, width, zeroed, scratch, threads]
    function(*(a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else ctypes.c_long(a) for a in given))
    return True


def _alike(codes: tuple[Code, ...], w: Params, others: list[Params]) -> bool:
    """Whether all tensors lie in memory as the weights do, so that the kernel can walk them together.

    That is in the order of their axes; where every coordinate is stepped by itself, any order without gaps will do
    (transposed matrices, channels last).
    """
    single = not any(code.means or any(isinstance(s, Packed) for _, s in code.arrays) for code in codes)
    for k, x in w.items():
        if x.is_contiguous():
            if not all(a[k].is_contiguous() for a in others):
                return False
        elif not (single and _gapless(x) and all(a[k].stride() == x.stride() for a in others)):
            return False
    return True


def _gapless(x: Tensor) -> bool:
    size = 1
    for stride, n in sorted(zip(x.stride(), x.shape, strict=True)):
        if n != 1 and stride != size:
            return False
        size *= n
    return True


def plain(x: Tensor) -> bool:
    """Whether `x` is a tensor like any other, in memory."""
    return x.layout == torch.strided and type(x) in (Tensor, torch.nn.Parameter)
