"""Prodigy (arXiv:2306.06101, algorithm 4), with `eps` scaled by the new estimate as in the authors' code."""

from math import sqrt

import torch

from adamantine.optim.schedule import Warmup

CASES = {
    "prodigy": [
        {"decay": 0.1, "beta1": 0.8, "beta2": 0.99, "d0": 1e-3, "coefficient": 0.5},
        {"d0": 1e-3, "safeguard": True, "schedule": Warmup(20), "lr": 0.5},
    ]
}


def prodigy(
    problem,
    w,
    steps,
    lr,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    decay=0.0,
    d0=1e-6,
    coefficient=1.0,
    safeguard=False,
    schedule=None,
):
    start, d, r = dict(w), d0, 0.0
    s = {k: torch.zeros_like(x) for k, x in w.items()}
    m = {k: torch.zeros_like(x) for k, x in w.items()}
    v = {k: torch.zeros_like(x) for k, x in w.items()}
    for t in range(steps):
        g, gamma = problem.grad(w, t), lr * (schedule(t, steps) if schedule else 1.0)
        inner = sum(float((g[k] * (start[k] - w[k])).sum()) for k in w)
        r = sqrt(beta2) * r + gamma * d**2 * inner
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * d * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * d**2 * g[k] ** 2
            s[k] = sqrt(beta2) * s[k] + (d**2 if safeguard else gamma * d**2) * g[k]
        new = max(d, coefficient * r / sum(float(x.abs().sum()) for x in s.values()))
        w = {k: w[k] - gamma * d * (m[k] / (v[k].sqrt() + new * eps) + decay * w[k]) for k in w}
        d = new
    return w
