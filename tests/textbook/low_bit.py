"""AdamW that rounds its moments to a table of values after every step (2110.02861, 2309.01507), number by number."""

import math
from functools import partial

import torch

CASES = {
    "adamw_8bit": [{"least": 1, "block": 8, "beta1": 0.8}, {"least": 30, "decay": 0.3, "eps": 1e-4}],
    "adamw_companded": [{"least": 1, "block": 8, "beta1": 0.8}, {"least": 30, "decay": 0.3, "eps": 1e-4}],
    "adamw_4bit": [{"least": 1, "block": 8, "beta1": 0.8}, {"least": 30, "decay": 0.3, "eps": 1e-4}],
}


def _tree(bits, signed):
    """Dynamic tree: leading zeros choose the decade, the bits after the first one a cell of it; and zero and one."""
    found = {0.0, 1.0}
    for zeros in range(bits - 1):
        free = bits - 2 - zeros + (0 if signed else 1)
        for i in range(2**free):
            x = 10.0**-zeros * (0.1 + 0.9 * (2 * i + 1) / 2 / 2**free)
            found |= {x, -x} if signed else {x}
    return sorted(found)


def _rounded(x, block, least, table):
    if x.numel() < least:
        return x
    flat, out = x.reshape(-1), []
    for piece in flat.split(block):
        top = float(piece.abs().max().to(torch.float32))
        nearest = [min(table, key=lambda y, x=x: abs(y - x / top)) if top else 0.0 for x in piece.tolist()]
        out += [top * y for y in nearest]
    return torch.tensor(out, dtype=x.dtype).view_as(x)


def _companded(x, block, least, signed):
    if x.numel() < least:
        return x
    out = []
    for piece in x.reshape(-1).split(block):
        top = float(piece.abs().max().to(torch.float32))
        for y in piece.tolist():
            y = y / top if top else 0.0
            if signed:
                code = math.copysign(math.floor(127 * 2 * abs(y) / (1 + abs(y)) + 0.5), y) / 127
                y = code / (2 - abs(code))
            else:
                y = (max(math.floor(255 * math.sqrt(y) + 0.5), 1 if y > 0 else 0) / 255) ** 2
            out.append(top * y)
    return torch.tensor(out, dtype=x.dtype).view_as(x)


def _adamw(problem, w, steps, lr, beta1, beta2, eps, decay, block, least, first, second):
    m, v = {k: torch.zeros_like(x) for k, x in w.items()}, {k: torch.zeros_like(x) for k, x in w.items()}
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            u = m[k] / (1 - beta1**t) / ((v[k] / (1 - beta2**t)).sqrt() + eps)
            w[k] = w[k] - lr * (u + decay * w[k])
            m[k], v[k] = first(m[k], block, least), second(v[k], block, least)
    return w


def adamw_8bit(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01, block=256, least=4096):
    both = (partial(_rounded, table=_tree(8, signed)) for signed in (True, False))
    return _adamw(problem, w, steps, lr, beta1, beta2, eps, decay, block, least, *both)


def adamw_companded(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01, block=128, least=4096):
    both = (partial(_companded, signed=signed) for signed in (True, False))
    return _adamw(problem, w, steps, lr, beta1, beta2, eps, decay, block, least, *both)


def adamw_4bit(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01, block=128, least=4096):
    both = (partial(_rounded, table=table) for table in (_tree(4, True), [i / 16 for i in range(1, 17)]))
    return _adamw(problem, w, steps, lr, beta1, beta2, eps, decay, block, least, *both)
