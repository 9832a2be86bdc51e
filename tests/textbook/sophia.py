"""Sophia-H (arXiv:2305.14342, algorithms 1 and 3)."""

import torch

from adamantine.point import stream

CASES = {"sophia": [{"beta1": 0.9, "beta2": 0.8, "gamma": 20.0, "period": 3, "decay": 0.3}]}


def sophia(problem, w, steps, lr, beta1=0.96, beta2=0.99, gamma=0.01, eps=1e-12, period=10, decay=0.1):
    m = {k: torch.zeros_like(x) for k, x in w.items()}
    h = {k: torch.zeros_like(x) for k, x in w.items()}
    for t in range(1, steps + 1):
        g = problem.grad(w, t - 1)
        if (t - 1) % period == 0:
            v = {}
            for k, x in w.items():  # the same signs as the package draws
                v[k] = torch.randint(2, x.shape, generator=stream(0, f"sophia/{k}/{t - 1}")).double() * 2 - 1
            hv = problem.hvp(w, v, t - 1)
            h = {k: beta2 * h[k] + (1 - beta2) * v[k] * hv[k] for k in w}
        new = {}
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            shrunk = w[k] - lr * decay * w[k]
            step = m[k] / torch.maximum(gamma * h[k], torch.tensor(eps, dtype=h[k].dtype))
            new[k] = shrunk - lr * step.clamp(-1, 1)
        w = new
    return w
