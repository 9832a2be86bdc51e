"""Gradient descent with momentum, sign methods, RMSprop and NAdam."""

import torch

CASES = {
    "sgd": [
        {"momentum": 0.9, "lr": 0.03},
        {"momentum": 0.8, "nesterov": True, "decay": 0.1, "lr": 0.03},
        {"decay": 0.3, "lr": 0.3},
    ],
    "signum": [{"beta": 0.8, "decay": 0.3, "lr": 0.001}],
    "lion": [{"beta1": 0.8, "beta2": 0.9, "decay": 0.3, "lr": 0.001}],
    "rmsprop": [{"beta": 0.9, "eps": 1e-4, "momentum": 0.8}, {"centered": True}, {"centered": True, "momentum": 0.9}],
    "nadam": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "decay": 0.3, "rate": 0.1}],
}


def _zeros(w):
    return {k: torch.zeros_like(x) for k, x in w.items()}


def sgd(problem, w, steps, lr, momentum=0.0, nesterov=False, decay=0.0):
    """Sutskever et al. 2013, in the form whose velocity does not hold the rate."""
    b = _zeros(w)
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            d = g[k] + decay * w[k]
            b[k] = momentum * b[k] + d
            w[k] = w[k] - lr * (d + momentum * b[k] if nesterov else b[k])
    return w


def signum(problem, w, steps, lr, beta=0.9, decay=0.0):
    """arXiv:1802.04434, algorithm 2, with decoupled decay."""
    m = _zeros(w)
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            m[k] = beta * m[k] + (1 - beta) * g[k]
            w[k] = w[k] - lr * (torch.sign(m[k]) + decay * w[k])
    return w


def lion(problem, w, steps, lr, beta1=0.9, beta2=0.99, decay=0.0):
    """arXiv:2302.06675, algorithm 2."""
    m = _zeros(w)
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            c = beta1 * m[k] + (1 - beta1) * g[k]
            w[k] = w[k] - lr * (torch.sign(c) + decay * w[k])
            m[k] = beta2 * m[k] + (1 - beta2) * g[k]
    return w


def rmsprop(problem, w, steps, lr, beta=0.99, eps=1e-8, momentum=0.0, centered=False):
    """arXiv:1308.0850, equations 38 to 41, with torch's place of `eps` and of the momentum."""
    n, a, delta = _zeros(w), _zeros(w), _zeros(w)
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            n[k] = beta * n[k] + (1 - beta) * g[k] ** 2
            a[k] = beta * a[k] + (1 - beta) * g[k]
            variance = (n[k] - a[k] ** 2).clamp(min=0) if centered else n[k]
            delta[k] = momentum * delta[k] + g[k] / (variance.sqrt() + eps)
            w[k] = w[k] - lr * delta[k]
    return w


def nadam(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0, rate=4e-3):
    """Dozat 2016, algorithm 2, with the coefficients of its section 3 and `rate` for its 1/250."""

    def mu(t):
        return beta1 * (1 - 0.5 * 0.96 ** (t * rate))

    m, n, product = _zeros(w), _zeros(w), 1.0
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        product *= mu(t)
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            n[k] = beta2 * n[k] + (1 - beta2) * g[k] ** 2
            bar = mu(t + 1) * m[k] / (1 - product * mu(t + 1)) + (1 - mu(t)) * g[k] / (1 - product)
            w[k] = w[k] - lr * (bar / ((n[k] / (1 - beta2**t)).sqrt() + eps) + decay * w[k])
    return w
