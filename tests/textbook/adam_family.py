"""Element-wise relatives of Adam, each from the algorithm of its paper."""

import math

import torch

CASES = {
    "radam": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "decay": 0.3}, {"threshold": 4.0, "beta2": 0.99}],
    "amsgrad": [{"beta1": 0.8, "beta2": 0.7, "eps": 1e-4, "decay": 0.3}],
    "adabelief": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-5, "decay": 0.3}],
    "adan": [{"beta1": 0.9, "beta2": 0.7, "beta3": 0.95, "eps": 1e-4, "decay": 0.3}, {"decay": 0.0}],
    "ademamix": [{"warmup": 0}, {"warmup": 25, "beta1": 0.8, "beta3": 0.99, "alpha": 2.0, "decay": 0.3, "eps": 1e-4}],
    "adopt": [{"clip": False}, {"beta1": 0.8, "beta2": 0.9, "eps": 1e-2, "decay": 0.3}],
    "adams": [{"beta1": 0.8, "beta2": 0.7, "eps": 1e-4, "decay": 0.3}],
    "laprop": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "decay": 0.3}],
    "mars": [{"exact": True}, {"beta1": 0.9, "beta2": 0.95, "eps": 1e-4, "decay": 0.3, "gamma": 0.5}],
    "cautious_adamw": [{"beta1": 0.8, "beta2": 0.9, "eps": 1e-4, "decay": 0.3}],
    "cautious_lion": [{"beta1": 0.8, "beta2": 0.9, "decay": 0.3, "lr": 0.001}],
    "adamw_equal_betas": [{"beta": 0.8, "eps": 1e-4, "decay": 0.3}],
}


def _zeros(w):
    return {k: torch.zeros_like(x) for k, x in w.items()}


def radam(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0, threshold=5.0):
    """Algorithm 2, with `eps` and the threshold of torch."""
    m, v = _zeros(w), _zeros(w)
    rho_inf = 2 / (1 - beta2) - 1
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            step = m[k] / (1 - beta1**t)
            if rho > threshold:
                adaptive = math.sqrt(1 - beta2**t) / (v[k].sqrt() + eps)
                r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
                step = r * step * adaptive
            w[k] = w[k] - lr * decay * w[k] - lr * step
    return w


def amsgrad(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    """Algorithm 2, with Adam's corrections."""
    m, v, top = _zeros(w), _zeros(w), _zeros(w)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            top[k] = torch.where(v[k] > top[k], v[k], top[k])
            denominator = (top[k] / (1 - beta2**t)).sqrt() + eps
            w[k] = (1 - lr * decay) * w[k] - lr * m[k] / (1 - beta1**t) / denominator
    return w


def adabelief(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-16, decay=0.0):
    """Algorithm 2; the line of `s` ends in `+ eps`."""
    m, s = _zeros(w), _zeros(w)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            s[k] = beta2 * s[k] + (1 - beta2) * (g[k] - m[k]) ** 2 + eps
            m_hat, s_hat = m[k] / (1 - beta1**t), s[k] / (1 - beta2**t)
            w[k] = (1 - lr * decay) * w[k] - lr * m_hat / (s_hat.sqrt() + eps)
    return w


def adan(problem, w, steps, lr, beta1=0.98, beta2=0.92, beta3=0.99, eps=1e-8, decay=0.02):
    """Algorithm 1; its coefficients are one minus these."""
    m, v, n, old = _zeros(w), _zeros(w), _zeros(w), None
    b1, b2, b3 = 1 - beta1, 1 - beta2, 1 - beta3
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        old = g if old is None else old
        for k in w:
            change = g[k] - old[k]
            m[k] = (1 - b1) * m[k] + b1 * g[k]
            v[k] = (1 - b2) * v[k] + b2 * change
            n[k] = (1 - b3) * n[k] + b3 * (g[k] + (1 - b2) * change) ** 2
            eta = lr / ((n[k] / (1 - beta3**t)).sqrt() + eps)
            step = m[k] / (1 - beta1**t) + (1 - b2) * v[k] / (1 - beta2**t)
            w[k] = (w[k] - eta * step) / (1 + decay * lr)
        old = g
    return w


def ademamix(problem, w, steps, lr, beta1=0.9, beta2=0.999, beta3=0.9999, alpha=5.0, eps=1e-8, decay=0.0, warmup=1.0):
    """Algorithm 1 with the schedules of section 3."""
    m1, m2, v = _zeros(w), _zeros(w), _zeros(w)
    length = warmup if isinstance(warmup, int) else round(warmup * steps)
    a, b = math.log(beta1), math.log(beta3)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        alpha_t, beta3_t = alpha, beta3
        if t < length:
            alpha_t = min(t * alpha / length, alpha)
            beta3_t = min(math.exp(a * b / ((1 - t / length) * b + t / length * a)), beta3)
        for k in w:
            m1[k] = beta1 * m1[k] + (1 - beta1) * g[k]
            m2[k] = beta3_t * m2[k] + (1 - beta3_t) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            m_hat, v_hat = m1[k] / (1 - beta1**t), v[k] / (1 - beta2**t)
            w[k] = w[k] - lr * ((m_hat + alpha_t * m2[k]) / (v_hat.sqrt() + eps) + decay * w[k])
    return w


def adopt(problem, w, steps, lr, beta1=0.9, beta2=0.9999, eps=1e-6, decay=0.0, clip=True):
    """Algorithms 1 and, with clip, 2; the gradient of step 0 only starts `v`."""
    m, v = _zeros(w), {}
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            w[k] = w[k] - lr * decay * w[k]
            if t == 0:
                v[k] = g[k] ** 2
                continue
            scaled = g[k] / torch.clamp(v[k].sqrt(), min=eps)
            if clip:
                bound = torch.full_like(scaled, t**0.25)
                scaled = torch.minimum(torch.maximum(scaled, -bound), bound)
            m[k] = beta1 * m[k] + (1 - beta1) * scaled
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            w[k] = w[k] - lr * m[k]
    return w


def adams(problem, w, steps, lr, beta1=0.9, beta2=0.95, eps=1e-8, decay=0.0):
    """The normalizer is made of the momentum before and the gradient of now."""
    m = _zeros(w)
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            v = beta2 * m[k] ** 2 + (1 - beta2) * g[k] ** 2
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            w[k] = w[k] - lr * (m[k] / (v.sqrt() + eps) + decay * w[k])
    return w


def laprop(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-15, decay=0.0):
    """Algorithm 1."""
    m, n = _zeros(w), _zeros(w)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            n[k] = beta2 * n[k] + (1 - beta2) * g[k] ** 2
            m[k] = beta1 * m[k] + (1 - beta1) * g[k] / ((n[k] / (1 - beta2**t)).sqrt() + eps)
            w[k] = (1 - lr * decay) * w[k] - lr * m[k] / (1 - beta1**t)
    return w


def mars(problem, w, steps, lr, beta1=0.95, beta2=0.99, eps=1e-8, decay=0.0, gamma=0.025, exact=False):
    """Algorithm 2 (MARS-AdamW), with the gradient of the step before at its own batch, or `exact` at this one."""
    m, v, before, old = _zeros(w), _zeros(w), w, None
    for t in range(1, steps + 1):
        g = problem.grad(w, t - 1)
        reference = problem.grad(before, t - 1) if exact else (old or g)
        before, old, w = w, g, dict(w)
        for k in w:
            c = g[k] + gamma * beta1 / (1 - beta1) * (g[k] - reference[k])
            length = float((c**2).sum()) ** 0.5
            if length > 1:
                c = c / length
            m[k] = beta1 * m[k] + (1 - beta1) * c
            v[k] = beta2 * v[k] + (1 - beta2) * c**2
            m_hat, v_hat = m[k] / (1 - beta1**t), v[k] / (1 - beta2**t)
            w[k] = w[k] - lr * (m_hat / (v_hat.sqrt() + eps) + decay * w[k])
    return w


def _mask(step, g):
    agree = (step * g > 0).double()
    return agree * agree.numel() / max(float(agree.sum()), 1e-3 * agree.numel())


def cautious_adamw(problem, w, steps, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    """Algorithm 2, with the authors' scale of the mask."""
    m, v = _zeros(w), _zeros(w)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * g[k]
            v[k] = beta2 * v[k] + (1 - beta2) * g[k] ** 2
            u = m[k] / (1 - beta1**t) / ((v[k] / (1 - beta2**t)).sqrt() + eps)
            w[k] = w[k] - lr * (u * _mask(u, g[k]) + decay * w[k])
    return w


def cautious_lion(problem, w, steps, lr, beta1=0.9, beta2=0.99, decay=0.0):
    """Algorithm 3, with the authors' scale of the mask."""
    m = _zeros(w)
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            u = torch.sign(beta1 * m[k] + (1 - beta1) * g[k])
            m[k] = beta2 * m[k] + (1 - beta2) * g[k]
            w[k] = w[k] - lr * (u * _mask(u, g[k]) + decay * w[k])
    return w


def adamw_equal_betas(problem, w, steps, lr, beta=0.95, eps=1e-8, decay=0.01):
    """Both averages with the same coefficient."""
    m, v = _zeros(w), _zeros(w)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            m[k] = beta * m[k] + (1 - beta) * g[k]
            v[k] = beta * v[k] + (1 - beta) * g[k] ** 2
            correction = 1 - beta**t
            w[k] = w[k] - lr * (m[k] / correction / ((v[k] / correction).sqrt() + eps) + decay * w[k])
    return w
