"""LAMB (arXiv:1904.00962, algorithm 2) and LARS (arXiv:1708.03888, algorithm 1)."""

import torch

CASES = {
    "lamb": [{"decay": 0.3, "beta1": 0.8, "beta2": 0.9, "eps": 1e-4}],
    "lars": [{"lr": 3.0, "beta": 0.5, "coefficient": 0.01, "decay": 0.3}],
}


def lamb(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-6, decay=0.01):
    m = {k: torch.zeros_like(x) for k, x in w.items()}
    v = {k: torch.zeros_like(x) for k, x in w.items()}
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            r = m[k] / (1 - beta1**t) / ((v[k] / (1 - beta2**t)).sqrt() + eps) + decay * w[k]
            w[k] = w[k] - lr * w[k].norm() / r.norm() * r
    return w


def lars(problem, w, steps, lr, beta=0.9, coefficient=0.001, decay=1e-4):
    v = {k: torch.zeros_like(x) for k, x in w.items()}
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            local = coefficient * w[k].norm() / (g[k].norm() + decay * w[k].norm())
            v[k] = beta * v[k] + lr * local * (g[k] + decay * w[k])
            w[k] = w[k] - v[k]
    return w
