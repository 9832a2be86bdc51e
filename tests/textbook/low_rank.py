"""GaLore (arXiv:2403.03507, algorithm 2), Fira (2410.01623), APOLLO (2412.05270; both limit as the authors' code)."""

import torch

from adamantine.point import stream

CASES = {
    "galore": [
        {"rank": 3, "every": 7, "scale": 0.5, "decay": 0.1},
        {"rank": 2, "beta1": 0.5},
    ],
    "fira": [{"rank": 3, "every": 7, "growth": 1.1, "decay": 0.1}, {"rank": 2, "beta1": 0.5}],
    "apollo": [
        {"rank": 3, "every": 7, "scale": 2.0, "decay": 0.1, "growth": 1.2},
        {"rank": 2, "per": "tensor", "beta1": 0.5},
    ],
    "apollo_mini": [{"every": 9, "growth": 1.3}],
}

_HIDDEN = {"query", "up", "down", "convolution"}


def _low_rank(problem, w, steps, lr, rank, every, project, combine, beta1, beta2, eps, decay, late=True):
    """Adam on projected gradients; `combine(k, g, r, direction, up, correction)` gives the update of a matrix."""
    held, m, v = {}, {}, {}
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            r, tall = g[k], None
            if problem.role[k] in _HIDDEN:
                matrix = g[k].reshape(len(g[k]), -1)
                tall = matrix.shape[0] >= matrix.shape[1]
                if (t - 1) % every == 0:
                    held[k] = project(k, matrix, tall, held.get(k), (t - 1) // every)
                r = matrix @ held[k] if tall else held[k].T @ matrix
            m[k] = beta1 * m.get(k, 0) + (1 - beta1) * r
            v[k] = beta2 * v.get(k, 0) + (1 - beta2) * r**2
            m_hat, v_hat = m[k] / (1 - beta1**t), v[k] / (1 - beta2**t)
            if tall is None:
                u = m_hat / (v_hat.sqrt() + eps)
            else:
                up = (lambda x, k=k: x @ held[k].T) if tall else (lambda x, k=k: held[k] @ x)
                if late:
                    d, factor = m[k] / (v[k].sqrt() + eps), (1 - beta2**t) ** 0.5 / (1 - beta1**t)
                else:
                    d, factor = m_hat / (v_hat.sqrt() + eps), 1.0
                u = (combine(k, matrix, r, d, up, int(tall)) * factor).reshape(w[k].shape)
            w[k] = w[k] - lr * (u + decay * w[k])
    return w


def _svd(rank):
    def project(k, matrix, tall, old, _):
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        new = right[:rank].T if tall else left[:, :rank]
        if old is not None:
            new = new * torch.where((new * old).sum(0) < 0, -1.0, 1.0)
        elif new.numel():
            eye = torch.eye(*new.shape, dtype=new.dtype)
            new = new * torch.where((new * eye).sum(0) < 0, -1.0, 1.0)
        return new

    return project


def _limiter(growth):
    norms = {}

    def limit(k, x):
        size = x.norm()
        if k in norms:
            cut = max(size / (norms[k] + 1e-8), growth) / growth
            x, size = x / cut, size / cut
        norms[k] = size
        return x

    return limit


def galore(problem, w, steps, lr, rank=128, every=200, scale=1.0, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    def combine(k, g, r, d, up, axis):
        return scale * up(d)

    return _low_rank(problem, w, steps, lr, rank, every, _svd(rank), combine, beta1, beta2, eps, decay, late=False)


def fira(problem, w, steps, lr, rank=128, every=200, growth=1.01, beta1=0.9, beta2=0.999, eps=1e-6, decay=0.0):
    limit = _limiter(growth)

    def combine(k, g, r, d, up, axis):
        phi = d.norm(dim=axis, keepdim=True) / (r.norm(dim=axis, keepdim=True) + 1e-8)
        return up(d) + limit(k, phi * (g - up(r)))

    return _low_rank(problem, w, steps, lr, rank, every, _svd(rank), combine, beta1, beta2, eps, decay)


def apollo(
    problem,
    w,
    steps,
    lr,
    rank=256,
    every=200,
    scale=1.0,
    per="channel",
    growth=1.01,
    beta1=0.9,
    beta2=0.999,
    eps=1e-6,
    decay=0.0,
):
    limit = _limiter(growth)

    def project(k, matrix, tall, old, epoch):
        rng = stream(problem.seed, f"projection/{k}/{epoch}")
        return torch.randn(min(matrix.shape), rank, dtype=matrix.dtype, generator=rng) / rank**0.5

    def combine(k, g, r, d, up, axis):
        dims = {"dim": axis, "keepdim": True} if per == "channel" else {}
        return scale**0.5 * limit(k, g * (d.norm(**dims) / (r.norm(**dims) + 1e-8)))

    return _low_rank(problem, w, steps, lr, rank, every, project, combine, beta1, beta2, eps, decay)


def apollo_mini(
    problem, w, steps, lr, rank=1, every=200, scale=128.0, growth=1.01, beta1=0.9, beta2=0.999, eps=1e-6, decay=0.0
):
    return apollo(problem, w, steps, lr, rank, every, scale, "tensor", growth, beta1, beta2, eps, decay)
