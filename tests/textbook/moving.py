"""Optimizers made for objectives that change, on one that does not; what they do at changes is tested beside them."""

import math

import numpy as np
import scipy.special
import torch

from adamantine.point import stream

CASES = {
    "adam_rel": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-4}],
    "adam_reset": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-4}],
    "corrected_sgd": [{"beta": 0.8, "step": 1e-4, "lr": 0.05, "tol": 1e-7}],
    "corrected_adam": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "tol": 1e-7}],
    "obgd": [{"kappa": 30.0, "lr": 0.3}],
    "redo": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-4}],
    "upgd": [{"beta": 0.9, "sigma": 0.01, "decay": 0.1, "lr": 0.05}],
    "adaptive_upgd": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "beta": 0.9, "sigma": 0.01, "decay": 0.1}],
    "rad": [{"beta1": 0.8, "beta2": 0.9, "delta": 0.5, "growth": 10.0, "decay": 0.3}],
    "trac": [{"lr": 0.03, "beta1": 0.8, "beta2": 0.9, "eps": 1e-4}],
}


def _zeros(w):
    return {k: torch.zeros_like(x) for k, x in w.items()}


def adam_rel(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """arXiv:2412.17113; as long as nothing changes, Adam."""
    m, v = _zeros(w), _zeros(w)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            w[k] = w[k] - lr * m[k] / (1 - beta1**t) / ((v[k] / (1 - beta2**t)).sqrt() + eps)
    return w


def adam_reset(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """arXiv:2306.17833; as long as nothing changes, Adam."""
    return adam_rel(problem, w, steps, lr, beta1, beta2, eps)


def redo(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """arXiv:2302.12902; before the first units are recycled, Adam."""
    return adam_rel(problem, w, steps, lr, beta1, beta2, eps)


def upgd(problem, w, steps, lr, beta=0.999, sigma=1e-3, decay=0.0):
    """arXiv:2404.00781, algorithm 1 with decay, utilities over all weights."""
    return _perturbed(problem, w, steps, lr, lambda g, t: g, beta, sigma, decay)


def adaptive_upgd(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, beta=0.999, sigma=1e-3, decay=0.0):
    """arXiv:2404.00781, with Adam's direction."""
    m, v = _zeros(w), _zeros(w)

    def direction(g, t):
        out = {}
        for k in g:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            out[k] = m[k] / (1 - beta1**t) / ((v[k] / (1 - beta2**t)).sqrt() + eps)
        return out

    return _perturbed(problem, w, steps, lr, direction, beta, sigma, decay)


def _perturbed(problem, w, steps, lr, direction, beta, sigma, decay):
    utility = _zeros(w)
    for t in range(1, steps + 1):
        g = problem.grad(w, t - 1)
        d = direction(g, t)
        utility = {k: beta * utility[k] - (1 - beta) * g[k] * w[k] for k in w}
        scaled = {k: u / (1 - beta**t) for k, u in utility.items()}
        most = max(float(u.max()) for u in scaled.values())
        new = {}
        for k in w:
            noise = torch.randn(w[k].shape, generator=stream(0, f"utility/{k}/{t - 1}"), dtype=w[k].dtype)
            useful = torch.sigmoid(scaled[k] / most) if most > 0 else torch.full_like(w[k], 0.5)
            new[k] = w[k] * (1 - lr * decay) - lr * (1 - useful) * (d[k] + sigma * noise)
        w = new
    return w


def _sign(x, name, step):
    """The same signs as the package draws."""
    return 2.0 * torch.randint(2, x.shape, generator=stream(0, f"corrected/{name}/{step}")).double() - 1


def corrected_adam(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, step=1e-3, adaptive=True):
    """arXiv:2106.03955: every gradient in the average, kept apart, is brought to the weights of now."""
    history, v = [], _zeros(w)
    for t in range(1, steps + 1):
        g = problem.grad(w, t - 1)
        size = sum(x.numel() for x in w.values())
        e = step * (1 + math.sqrt(sum(float((x**2).sum()) for x in w.values()) / size))
        r = {k: _sign(x, k, t - 1) for k, x in w.items()}
        near = problem.grad({k: x + e * r[k] for k, x in w.items()}, t - 1)
        history.append((g, dict(w), {k: r[k] * (near[k] - g[k]) / e for k in w}))
        new = {}
        for k in w:
            m = sum(
                (1 - beta1) * beta1 ** (t - 1 - i) * (gi[k] + zi[k] * (w[k] - wi[k]))
                for i, (gi, wi, zi) in enumerate(history)
            )
            m_hat = m / (1 - beta1**t)
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            new[k] = w[k] - lr * (m_hat / ((v[k] / (1 - beta2**t)).sqrt() + eps) if adaptive else m_hat)
        w = new
    return w


def corrected_sgd(problem, w, steps, lr, beta=0.9, step=1e-3):
    """The same without second moments."""
    return corrected_adam(problem, w, steps, lr, beta, step=step, adaptive=False)


def obgd(problem, w, steps, lr=0.1, kappa=2.0):
    """arXiv:2410.14606, algorithm 3, with `delta z` for the gradient and the loss for the size of `delta`."""
    for t in range(steps):
        g = problem.grad(w, t)
        delta = float(problem.losses(w, problem.batch(t)).mean())
        z = sum(float((x / delta).abs().sum()) for x in g.values())
        bound = lr * kappa * max(delta, 1.0) * z
        w = {k: x - min(1 / bound, 1.0) * lr * g[k] for k, x in w.items()}
    return w


def rad(problem, w, steps, lr, beta1=0.9, beta2=0.999, delta=1.0, growth=40.0, decay=0.0):
    """arXiv:2412.02291, algorithm 1, with `zeta_k = exp(40 (k / K - 1))`."""
    m, v = _zeros(w), _zeros(w)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        zeta = max(math.exp(growth * (t / steps - 1)), 1e-16)
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            speed = m[k] / (1 - beta1**t) * math.sqrt(1 - beta2**t) / (delta**2 * v[k] + zeta).sqrt()
            w[k] = w[k] - lr * (speed + decay * w[k])
    return w


def trac(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """arXiv:2405.16642, algorithms 1 and 2, over Adam."""
    start, way = dict(w), _zeros(w)
    m, v2 = _zeros(w), _zeros(w)
    beta = np.array([0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999])
    v, sigma = np.zeros(6), np.full(6, 1e-8)
    for t in range(1, steps + 1):
        g = problem.grad(w, t - 1)
        h = sum(float((g[k] * way[k]).sum()) for k in w)
        v, sigma = beta**2 * v + h**2, beta * sigma - h
        s = 1e-8 / scipy.special.erfi(1 / np.sqrt(2)) * scipy.special.erfi(sigma / (np.sqrt(2 * v) + 1e-8))
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v2[k] = beta2 * v2[k] + (1 - beta2) * g[k] ** 2
            way[k] = way[k] - lr * m[k] / (1 - beta1**t) / ((v2[k] / (1 - beta2**t)).sqrt() + eps)
        w = {k: start[k] + max(float(s.sum()), 0.0) * x for k, x in way.items()}
    return w
