"""A chain of parts in C as one pass over the weights: the text is put together here, compiled once, and run.

Every tensor is seen as `rows x columns` (`x.flatten(1)`). Where parts need means over columns or over the tensor, a
pass over the gradient precedes; means over rows are taken on the way, while the row is in the cache.
"""

import ctypes
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamantine import compiler
from adamantine.kernel import SQUARE, Code, Fused
from adamantine.tree import Params

CHUNK = 1 << 15  # coordinates a task: long enough to hide its start, short enough to balance the threads
WHOLE = 1 << 18  # a tensor up to this size is one thread's, so that its passes meet it in the cache
TYPES = {torch.float32: "float", torch.float64: "double"}
SHAPES = ("row", "column", "tensor")
HEAD = 6  # w, direction in, g, rows, columns, where the result goes; then the arrays

SOURCE = (Path(__file__).parent / "one_pass.c").read_text()


def source(codes: Sequence[Code], dtype: torch.dtype, store: bool) -> str:
    """The C text of the chain `codes`; with `store` the direction itself is written, else the weights less it."""
    numbers, pointers, rows, blocks, bodies, of = [], [], [], [], [], ""
    number = array = out = 0
    for i, code in enumerate(codes):
        names, copies, first = {}, {}, array
        for name in code.numbers:
            numbers.append(f"  const T {name}_{i} = (T)num[{number}]; (void){name}_{i};")
            names[name], number = f"{name}_{i}", number + 1
        for name, shape in code.arrays:
            at = f"(T *)x[{HEAD + array}]"
            if shape == "full":
                pointers.append(f"    T *restrict A{array} = {at} + r * cols;")
            names[name] = f"A{array}[c]" if shape == "full" else f"({at})[{_index(shape)}]"
            copies[name] = f"L{array}" if shape == "full" else names[name]
            array += 1
        if code.mean:
            # The column case keeps a value a column in the scratch, the others a single one.
            slot = f"scratch[{'c' if code.mean == 'column' else '0'} + {out} * (cols + 1)]"
            text = _named(code.block, {**names, "out": "out"})
            held = "".join(f"T L{j} = A{j}[c]; " for j in range(first, array) if f"L{j}" in copies.values())
            what = f"      T x, u = U[c]; const T g = G[c], w = W[c]; (void)u; (void)g; (void)w; {held}"
            what += _named(code.of, {**names, **copies})
            if code.mean == "row":
                rows.append(ROW.replace("@OUT@", f"out_{i}").replace("@OF@", what).replace("@TEXT@", text))
                names["out"] = f"out_{i}"
            else:
                mean = "column[c] / rows" if code.mean == "column" else "total / ((double)rows * cols)"
                loop = "for (long c = 0; c < cols; c++)" if code.mean == "column" else ""
                blocks.append(f"  {loop} {{ const T mean = (T)({mean}); T out; {text} {slot} = out; }}")
                names["out"] = slot
                of, out = what, out + 1
        bodies.append(f"      {{ {_named(code.body, names)} }}")
    passes = any(code.mean in ("column", "tensor") for code in codes)
    filled = {
        "T": TYPES[dtype],
        "STRIDE": str(HEAD + array),
        "NUMBERS": "\n".join(numbers),
        "POINTERS": "\n".join(pointers),
        "ROWS": "\n".join(rows),
        "BLOCKS": "\n".join(blocks),
        "BODIES": "\n".join(bodies),
        "OUT": "u" if store else "w - u",
        "PASSES": str(int(passes)),
        "OF": of or "      const T x = 0;",
        "TOTAL": "part += x" if any(code.mean == "tensor" for code in codes) else "",
        "COLUMN": "column[c] += x" if any(code.mean == "column" for code in codes) else "",
    }
    return re.sub(r"@(\w+)@", lambda m: filled[m[1]], SOURCE)


ROW = """
    T @OUT@;
    {
      T sum = 0;
      #pragma omp simd reduction(+ : sum)
      for (long c = 0; c < cols; c++) {
@OF@
        sum += x;
      }
      const T mean = sum / cols;
      T out;
      @TEXT@
      @OUT@ = out;
    }"""


def fits(before: Sequence[Code], code: Code) -> bool:
    """Whether `code` can be part of the same pass as the codes `before` it."""
    if not before:
        return True
    sums = {c.of for c in before if c.mean in ("column", "tensor")}
    if (code.mean and code.of != SQUARE) or (code.mean in ("column", "tensor") and sums - {code.of}):
        return False
    return {"row", "column"} - {c.mean for c in (*before, code)} != set()


def _index(shape: str) -> str:
    return {"row": "r", "column": "c", "tensor": "0"}[shape]


def _named(text: str, names: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda m: names[m[1]], text)


@functools.lru_cache(maxsize=256)
def _function(codes: tuple[Code, ...], dtype: torch.dtype, store: bool) -> Callable[..., Any] | None:
    found = compiler.library(source(codes, dtype, store))
    return None if found is None else found.step


@functools.lru_cache(maxsize=64)
def _layout(shapes: tuple[torch.Size, ...], means: frozenset[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """`(rows, columns)` of each tensor, the tasks, the tensors that all threads share, and the scratch's width."""
    views, tasks, bigs = [], [], []
    for i, shape in enumerate(shapes):
        n = shape.numel()
        # A vector is one block: its columns' mean is taken over all of it.
        rows, cols = (shape[0], n // max(1, shape[0])) if len(shape) > 1 else (n, 1) if "column" in means else (1, n)
        if not means:
            rows, cols = 1, n
        views.append((rows, cols))
        if n == 0:
            continue
        if means & {"column", "tensor"}:
            if n <= WHOLE:
                tasks.append((i, 0, rows, 0, cols))
            else:
                bigs.append(i)
        elif means:
            height = max(1, CHUNK // cols)
            tasks += [(i, a, min(a + height, rows), 0, cols) for a in range(0, rows, height)]
        else:
            tasks += [(i, 0, 1, a, min(a + CHUNK, n)) for a in range(0, n, CHUNK)]
    width = max((c for _, c in views), default=0)
    return np.array(views, np.int64), np.array(tasks, np.int64).reshape(-1, 5), np.array(bigs, np.int64), width


def run(parts: Sequence[Fused], w: Params, u: Params, g: Params, out: Params) -> bool:
    """Pass the direction `u` through `parts` and write it to `out`; where `out` is `w`, subtract it from the weights.

    All tensors, the parts' arrays among them, must be dense, of one type, on the CPU. False, with nothing
    changed, where no kernel can be had.
    """
    first = next(iter(w.values()))
    codes = tuple(x.code for x in parts)
    means = frozenset(code.mean for code in codes if code.mean)
    if first.dtype not in TYPES or first.device.type != "cpu":
        return False
    function = _function(codes, first.dtype, out is not w)
    if function is None:
        return False
    arrays = [a for x in parts for a in x.arrays]
    views, tasks, bigs, width = _layout(tuple(x.shape for x in w.values()), means)
    items = np.empty((len(w), HEAD + len(arrays)), np.int64)
    for j, column in ((0, w), (1, u), (2, g), (5, out), *enumerate(arrays, HEAD)):
        items[:, j] = [column[k].data_ptr() for k in w]
    items[:, 3:5] = views
    numbers = np.array([n for x in parts for n in x.numbers], np.float64)
    threads = min(torch.get_num_threads(), max(1, len(tasks) + len(bigs) * torch.get_num_threads()))
    outs = 1 + sum(code.mean in ("column", "tensor") for code in codes)
    width = (width + 1) * max(1, outs)
    scratch = np.empty(2 * threads * width if means & {"column", "tensor"} else 0)
    arguments = [items, numbers, len(tasks), tasks, len(bigs), bigs, width, scratch, threads]
    function(*(a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else ctypes.c_long(a) for a in arguments))
    return True


def dense(x: Tensor) -> bool:
    """Whether the kernel can walk `x` as it lies in memory."""
    return x.is_contiguous() and x.layout == torch.strided and type(x) in (Tensor, torch.nn.Parameter)
