"""Adam (arXiv:1412.6980, algorithm 1) and AdamW (arXiv:1711.05101, algorithm 2)."""

import torch

CASES = {"adamw": [{"decay": 0.3, "beta1": 0.8, "beta2": 0.9, "eps": 1e-4}], "adam": [{"beta1": 0.8, "eps": 1e-4}]}


def adamw(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    m = {k: torch.zeros_like(x) for k, x in w.items()}
    v = {k: torch.zeros_like(x) for k, x in w.items()}
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            m_hat, v_hat = m[k] / (1 - beta1**t), v[k] / (1 - beta2**t)
            w[k] = w[k] - lr * (m_hat / (v_hat.sqrt() + eps) + decay * w[k])
    return w


def adam(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    return adamw(problem, w, steps, lr, beta1, beta2, eps, decay=0.0)
