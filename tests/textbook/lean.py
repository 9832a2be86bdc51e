"""Adafactor (1804.04235), CAME (2307.02047), SM3 (1901.11150), SGD-SaI (2412.11768), SCALE (2506.16659) and SinkGD
(2502.06742), with sums where the papers have sums and explicit matrices of rank one.
"""

import torch

CASES = {
    "adafactor": [
        {"relative": False, "beta1": 0.9},
        {"power": 0.5, "eps": 1e-6, "limit": 0.5, "floor": 0.9, "decay": 0.1},
    ],
    "came": [{"beta1": 0.8, "beta2": 0.9, "beta3": 0.95, "eps1": 1e-6, "eps2": 1e-4, "limit": 0.5, "decay": 0.1}],
    "sm3": [{"beta": 0.5}],
    "sgd_sai": [{"momentum": 0.5, "eps": 0.1, "decay": 0.3}],
    "scale": [{"momentum": 0.5, "beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "decay": 0.1}],
    "sinkgd": [{"rounds": 2, "share": 0.3, "beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "decay": 0.1}],
}


def _zeros(w):
    return {k: torch.zeros_like(x) for k, x in w.items()}


def _rms(x):
    return (x**2).sum().div(x.numel()).sqrt()


class _Factored:
    """Sums of rows and columns, averaged; `R C / 1'R`."""

    def __init__(self, x):
        n = x.shape[0] if x.ndim > 1 else x.numel()
        self.matrix = x.ndim > 1
        self.r = torch.zeros(n, 1, dtype=x.dtype)
        self.c = torch.zeros(1, x.numel() // n, dtype=x.dtype)
        self.v = torch.zeros_like(x)

    def take(self, square, beta):
        x = square.reshape(len(self.r), -1)
        self.r = beta * self.r + (1 - beta) * x.sum(1, keepdim=True)
        self.c = beta * self.c + (1 - beta) * x.sum(0, keepdim=True)
        self.v = beta * self.v + (1 - beta) * square
        return (self.r @ self.c / self.r.sum()).view_as(square) if self.matrix else self.v


def adafactor(problem, w, steps, lr, beta1=0.0, power=0.8, eps=1e-30, limit=1.0, relative=True, floor=1e-3, decay=0.0):
    second, m = {k: _Factored(x) for k, x in w.items()}, _zeros(w)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            v = second[k].take(g[k] ** 2 + eps, 1 - t ** (-power))
            u = g[k] / v.sqrt()
            u = u / max(1.0, float(_rms(u)) / limit)
            m[k] = beta1 * m[k] + (1 - beta1) * u
            size = lr * max(floor, float(_rms(w[k]))) if relative else lr
            w[k] = w[k] - size * m[k] - lr * decay * w[k]
    return w


def came(problem, w, steps, lr, beta1=0.9, beta2=0.999, beta3=0.9999, eps1=1e-30, eps2=1e-16, limit=1.0, decay=0.0):
    second, unstable, m = {k: _Factored(x) for k, x in w.items()}, {k: _Factored(x) for k, x in w.items()}, _zeros(w)
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            u = g[k] / second[k].take(g[k] ** 2 + eps1, beta2).sqrt()
            u = u / max(1.0, float(_rms(u)) / limit)
            m[k] = beta1 * m[k] + (1 - beta1) * u
            s = unstable[k].take((u - m[k]) ** 2 + eps2, beta3)
            w[k] = w[k] - lr * ((m[k] / s.sqrt() if w[k].ndim > 1 else m[k]) + decay * w[k])
    return w


def sm3(problem, w, steps, lr=0.1, beta=0.9):
    m, mu = _zeros(w), {k: [torch.zeros(n, dtype=x.dtype) for n in x.shape] for k, x in w.items()}
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            v = g[k] ** 2
            for place in range(w[k].numel()):
                index, rest = [], place
                for n in reversed(w[k].shape):
                    index.insert(0, rest % n)
                    rest //= n
                v[tuple(index)] += min(float(mu[k][axis][i]) for axis, i in enumerate(index))
            for axis in range(w[k].ndim):
                mu[k][axis] = torch.stack([v.select(axis, i).max() for i in range(w[k].shape[axis])])
            u = torch.where(v > 0, g[k] / v.sqrt(), torch.zeros_like(v))
            m[k] = beta * m[k] + (1 - beta) * u
            w[k] = w[k] - lr * m[k]
    return w


def sgd_sai(problem, w, steps, lr, momentum=0.9, eps=1e-8, decay=0.01):
    m, snr = _zeros(w), {}
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            if t == 0:
                apart = g[k] - g[k].mean()
                snr[k] = (g[k] ** 2).sum().sqrt() / ((apart**2).sum().div(apart.numel() - 1).sqrt() + eps)
            m[k] = momentum * m[k] + (1 - momentum) * g[k]
            w[k] = w[k] - lr * decay * w[k] - lr * snr[k] * m[k]
    return w


def _adam_step(m, v, g, t, beta1, beta2, eps):
    m.copy_(beta1 * m + (1 - beta1) * g)
    v.copy_(beta2 * v + (1 - beta2) * g**2)
    return m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + eps)


def scale(problem, w, steps, lr, momentum=0.9, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    m, v = _zeros(w), _zeros(w)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            role = problem.role[k]
            if role in ("norm", "bias"):
                u = _adam_step(m[k], v[k], g[k], t, beta1, beta2, eps)
            else:
                if role == "head":
                    m[k] = momentum * m[k] + (1 - momentum) * g[k]
                x = (m[k] if role == "head" else g[k]).reshape(len(g[k]), -1)
                along = 0 if role == "embedding" else 1
                u = (x / (x**2).mean(along, keepdim=True).sqrt().clamp_min(1e-8)).view_as(g[k])
            w[k] = w[k] - lr * (u + decay * w[k])
    return w


def sinkgd(problem, w, steps, lr, rounds=5, share=1.0, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    m, v = _zeros(w), _zeros(w)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            if problem.role[k] in ("embedding", "head", "norm", "bias"):
                u = _adam_step(m[k], v[k], g[k], t, beta1, beta2, eps)
            else:
                x = g[k].reshape(len(g[k]), -1)
                n, m_ = x.shape
                for _ in range(rounds):
                    x = m_**0.5 * torch.diag(1 / x.norm(dim=1)) @ x
                    x = n**0.5 * x @ torch.diag(1 / x.norm(dim=0))
                u = share * x.view_as(g[k])
            w[k] = w[k] - lr * (u + decay * w[k])
    return w
