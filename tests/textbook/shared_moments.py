"""Adam with second moments shared inside blocks of a tensor: by role: Adam-mini (2406.16793), Adalayer
(2407.07972), SlimAdam (2503.01843).
"""

import torch

OTHER = {"beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "decay": 0.3}
CASES = {name: [OTHER] for name in ("adam_mini", "adalayer", "slim_adam")}


def _adam(problem, w, steps, lr, beta1, beta2, eps, decay, mean):
    """AdamW with `mean(name, g^2)` for the square of the gradient."""
    m, v = {k: torch.zeros_like(x) for k, x in w.items()}, {k: torch.zeros_like(x) for k, x in w.items()}
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        square = {k: x**2 for k, x in g.items()}
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * mean(k, square)
            w[k] = w[k] - lr * (m[k] / (1 - beta1**t) / ((v[k] / (1 - beta2**t)).sqrt() + eps) + decay * w[k])
    return w


def _row(x):
    return torch.stack([torch.full_like(row, float(row.mean())) for row in x])


def _column(x):
    return (x.sum(0) / len(x)).expand_as(x)


def _tensor(x):
    return torch.full_like(x, float(x.mean()))


def adam_mini(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    def mean(k, square):
        role, x = problem.role[k], square[k]
        if role in ("query", "key"):
            heads = dict(problem.tags.pairs)[k].heads
            return torch.cat([_tensor(head) for head in x.chunk(heads)])
        by_row = role in ("embedding", "head", "value", "output", "gate", "up", "down", "matrix")
        return _row(x) if by_row else _tensor(x)

    return _adam(problem, w, steps, lr, beta1, beta2, eps, decay, mean)


def adalayer(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    def mean(k, square):
        return square[k] if problem.role[k] in ("head", "norm", "bias") else _tensor(square[k])

    return _adam(problem, w, steps, lr, beta1, beta2, eps, decay, mean)


def slim_adam(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    table = {"query": _row, "key": _row, "embedding": _row, "head": _row, "position": _row, "patch": _row}
    table |= dict.fromkeys(("value", "output", "gate", "up", "down"), _column)

    def mean(k, square):
        return table.get(problem.role[k], lambda x: x)(square[k])

    return _adam(problem, w, steps, lr, beta1, beta2, eps, decay, mean)
