"""Adam with second moments shared by many coordinates: a column of a matrix, or all there are."""

import torch

CASES = {
    "adam_column": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "decay": 0.3}],
    "adasgd": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "decay": 0.3}],
}


def _zeros(w):
    return {k: torch.zeros_like(x) for k, x in w.items()}


def adam_column(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    """The transpose of arXiv:2406.16793: one value for all weights that leave an input; vectors have one value."""
    m, v = _zeros(w), {k: torch.zeros(()) for k in w}
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            shape = w[k].shape
            matrix = g[k].reshape(shape[0], -1) if len(shape) > 1 else g[k].reshape(-1, 1)
            mean = (matrix**2).sum(0) / matrix.shape[0]
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * mean
            root = (v[k] / (1 - beta2**t)).sqrt() + eps
            root = root.expand(matrix.shape).reshape(shape)
            w[k] = w[k] - lr * (m[k] / (1 - beta1**t) / root + decay * w[k])
    return w


def adasgd(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    """arXiv:2006.16541: a scalar second moment, the mean of all squares."""
    m, v, size = _zeros(w), 0.0, sum(x.numel() for x in w.values())
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        v = beta2 * v + (1 - beta2) * sum(float((x**2).sum()) for x in g.values()) / size
        root = (v / (1 - beta2**t)) ** 0.5 + eps
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            w[k] = w[k] - lr * (m[k] / (1 - beta1**t) / root + decay * w[k])
    return w
