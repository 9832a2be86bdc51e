"""PSGD with Kronecker factors (arXiv:1512.04202, arXiv:2402.11858), fitted as often as kron-torch 0.3.3 does it."""

import math

import torch

from adamantine.point import stream

CASES = {
    "psgd_kron": [
        {"beta": 0.5, "rate": 0.3, "scale": 2.0, "fit": "gradient", "decay": 0.1},
        {"flat": 5, "anneal": 0.2, "least": 0.2, "lr": 0.003},
    ]
}


def _bound(a):
    """Lower bound of the largest eigenvalue: `|A v|` with `v` along `A` times its longest column."""
    column = a[:, (a**2).sum(0).argmax()]
    v = a.T @ column
    return (a @ v / v.norm()).norm()


def psgd_kron(
    problem,
    w,
    steps,
    lr,
    beta=0.9,
    rate=0.1,
    scale=1.0,
    fit="direction",
    least=0.03,
    anneal=0.001,
    flat=500,
    decay=0.0,
):
    m, q, since = {}, {}, 0
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        since += 1
        update = since >= 1 / min(1.0, max(least, math.exp(-anneal * (t - flat))))
        since = 0 if update else since
        balance = torch.rand((), generator=stream(problem.seed, f"kron balance/{t}")).item() < 0.01
        for k in w:
            vector = w[k].ndim == 1
            m[k] = beta * m.get(k, 0) + (1 - beta) * g[k]
            u = m[k] / (1 - beta ** (t + 1))
            if k not in q:
                sizes = [w[k].numel()] if vector else [len(w[k]), w[k][0].numel()]
                q[k] = [scale ** (1 / len(sizes)) * torch.eye(n).double() for n in sizes]
            x = u if fit == "direction" else g[k]
            x, u = (y.reshape(len(y), -1) for y in (x, u))
            if update:
                if balance and not vector:
                    top = [f.abs().max() for f in q[k]]
                    q[k] = [f * (top[0] * top[1]).sqrt() / n for f, n in zip(q[k], top, strict=True)]
                noise_shape = len(x) if vector else tuple(x.shape)
                v = torch.randn(noise_shape, dtype=x.dtype, generator=stream(problem.seed, f"kron/{k}/{t}"))
                v = v.reshape(x.shape)
                x = x + 2.0**-11.5 * x.abs().mean() * v
                right = torch.eye(1).double() if vector else q[k][1]
                a = q[k][0] @ x @ right.T
                b = torch.linalg.inv(q[k][0]).T @ v @ torch.linalg.inv(right)
                new = []
                for f, p1, p2 in zip(q[k], (a @ a.T, a.T @ a), (b @ b.T, b.T @ b), strict=False):
                    if vector:
                        d1, d2 = p1.diagonal(), p2.diagonal()
                        new.append(f - rate * torch.diag((d1 - d2) / (d1 + d2).max()) @ f)
                    else:
                        new.append(f - rate / _bound(p1 + p2) * torch.triu(p1 - p2) @ f)
                q[k] = new
            for axis, f in enumerate(q[k]):
                u = f.T @ f @ u if axis == 0 else u @ f.T @ f
            u = u * min(1.0, 1.1 / ((u**2).mean().sqrt() + 1e-12))
            w[k] = w[k] - lr * (u.reshape(w[k].shape) + decay * w[k])
    return w
