"""Shampoo (arXiv:1802.09568, algorithm 1, momentum before it), with averages and grafting as in arXiv:2309.06497."""

import torch

CASES = {
    "shampoo": [
        {"beta": 0.9, "eps": 1e-3, "momentum": 0.5, "decay": 0.1},
        {"graft": "sgd", "every": 4, "lr": 0.03},
        {"graft": "adam", "eps": 1e-2, "beta1": 0.8, "beta2": 0.95, "momentum": 0.0},
    ]
}


def _power(a, exponent):
    values, vectors = torch.linalg.eigh((a + a.T) / 2)
    return vectors @ torch.diag(values**exponent) @ vectors.T


def shampoo(
    problem,
    w,
    steps,
    lr,
    momentum=0.9,
    beta=1.0,
    eps=1e-6,
    every=1,
    graft="none",
    beta1=0.9,
    beta2=0.999,
    decay=0.0,
):
    left, right, roots, buf, m, v = {}, {}, {}, {}, {}, {}
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            rows = len(w[k])
            matrix = g[k].reshape(rows, -1)
            cols = matrix.shape[1]
            if t == 1:
                left[k], right[k] = torch.zeros(rows, rows).double(), torch.zeros(cols, cols).double()
            old, new, correction = (1, 1, 1) if beta == 1 else (beta, 1 - beta, 1 - beta**t)
            left[k] = old * left[k] + new * matrix @ matrix.T
            right[k] = old * right[k] + new * matrix.T @ matrix
            if (t - 1) % every == 0:
                a = left[k] / correction + eps * torch.eye(rows).double()
                b = right[k] / correction + eps * torch.eye(cols).double()
                vector = w[k].ndim == 1
                roots[k] = _power(a, -0.5 if vector else -0.25), torch.eye(1).double() if vector else _power(b, -0.25)
            buf[k] = momentum * buf.get(k, 0) + g[k]
            u = (roots[k][0] @ buf[k].reshape(rows, -1) @ roots[k][1]).reshape(w[k].shape)
            if graft == "sgd":
                u = u * buf[k].norm() / u.norm()
            if graft == "adam":
                m[k] = beta1 * m.get(k, 0) + (1 - beta1) * g[k]
                v[k] = beta2 * v.get(k, 0) + (1 - beta2) * g[k] ** 2
                step = m[k] / (1 - beta1**t) / ((v[k] / (1 - beta2**t)).sqrt() + 1e-8)
                u = u * step.norm() / u.norm()
            w[k] = w[k] - lr * (u + decay * w[k])
    return w
