"""Lookahead around AdamW (arXiv:1907.08610, algorithm 1)."""

import torch

CASES = {"lookahead_adamw": [{"period": 7, "alpha": 0.8, "decay": 0.3, "beta1": 0.8}]}


def lookahead_adamw(problem, w, steps, lr, period=5, alpha=0.5, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    slow, fast, t = dict(w), dict(w), 0
    m = {k: torch.zeros_like(x) for k, x in w.items()}
    v = {k: torch.zeros_like(x) for k, x in w.items()}
    while t < steps:
        for _ in range(min(period, steps - t)):
            g = problem.grad(fast, t)
            t += 1
            for k in w:
                m[k] = beta1 * m[k] + (1 - beta1) * g[k]
                v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
                step = m[k] / (1 - beta1**t) / ((v[k] / (1 - beta2**t)).sqrt() + eps)
                fast[k] = fast[k] - lr * (step + decay * fast[k])
        if t % period == 0:
            slow = {k: slow[k] + alpha * (fast[k] - slow[k]) for k in w}
            fast = dict(slow)
    return slow
