"""Schedule-free AdamW and SGD (arXiv:2405.15682, equations 3 to 5), the three sequences written out.

AdamW corrects its second moment under the root, as the authors' default code does and their algorithm 1 does not.
"""

import torch

from adamantine.optim.schedule import Cosine, Warmup

CASES = {
    "schedule_free_adamw": [
        {"schedule": Warmup(20), "decay": 0.3, "beta1": 0.8},
        {"schedule": Cosine(10), "power": 1.0, "beta2": 0.9, "eps": 1e-4},
    ],
    "schedule_free_sgd": [{"schedule": Warmup(20), "decay": 0.3, "beta": 0.7, "lr": 0.3}, {"power": 2.0}],
}


def _constant(t, steps):
    return 1.0


def _loop(problem, w, steps, lr, beta, power, schedule, direction):
    y, z, x = dict(w), dict(w), dict(w)
    total, largest = 0.0, 0.0
    for t in range(1, steps + 1):
        g, gamma = problem.grad(y, t - 1), lr * schedule(t - 1, steps)
        largest = max(largest, gamma)
        weight = t**power * largest**2
        total += weight
        c = weight / total
        for k in w:
            z[k] = z[k] - gamma * direction(k, g[k], y[k], t)
            x[k] = (1 - c) * x[k] + c * z[k]
            y[k] = beta * x[k] + (1 - beta) * z[k]
    return x


def schedule_free_adamw(
    problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0, power=0.0, schedule=_constant
):
    v = {k: torch.zeros_like(x) for k, x in w.items()}

    def direction(k, g, y, t):
        v[k] = beta2 * v[k] + (1 - beta2) * g**2
        return g / ((v[k] / (1 - beta2**t)).sqrt() + eps) + decay * y

    return _loop(problem, w, steps, lr, beta1, power, schedule, direction)


def schedule_free_sgd(problem, w, steps, lr, beta=0.9, decay=0.0, power=0.0, schedule=_constant):
    return _loop(problem, w, steps, lr, beta, power, schedule, lambda k, g, y, t: g + decay * y)
