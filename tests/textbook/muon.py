"""Muon (Keller Jordan 2024), NorMuon (arXiv:2510.05491, from the authors' code), Scion (arXiv:2502.07529)."""

import torch

CASES = {
    "muon": [
        {"momentum": 0.9, "nesterov": False, "decay": 0.2, "iterations": 3, "beta2": 0.8},
        {"shaping": "match_rms_adamw", "decay": 0.1, "adam_ratio": 1.0},
        {"method": "svd", "tol": 1e-7},
        {"method": "polar-express", "iterations": 9},
    ],
    "normuon": [{"momentum": 0.8, "beta": 0.7, "decay": 0.2, "shaping": "match_rms_adamw"}],
    "scion": [
        {"constrained": False, "beta": 0.8, "radius": 3.0, "table_radius": 0.7, "head_radius": 5.0},
        {"vector_radius": 2.0, "iterations": 6},
    ],
}

_EXPRESS = [
    [8.28721201814563, -23.595886519098837, 17.300387312530933],
    [4.107059111542203, -2.9478499167379106, 0.5448431082926601],
    [3.9486908534822946, -2.908902115962949, 0.5518191394370137],
    [3.3184196573706015, -2.488488024314874, 0.51004894012372],
    [2.300652019954817, -1.6689039845747493, 0.4188073119525673],
    [1.891301407787398, -1.2679958271945868, 0.37680408948524835],
    [1.8750014808534479, -1.2500016453999487, 0.3750001645474248],
]
_HIDDEN = {"query", "up", "down", "convolution"}


def _polar(g, method, iterations):
    """Singular values mapped one by one, where the optimizer multiplies matrices."""
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    if method == "svd":
        return u @ torch.diag((s > 1e-12 * s[0]).to(s)) @ vh
    if method == "newton-schulz":
        x = s / (s.norm() + 1e-7)
        for _ in range(iterations):
            x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    else:
        x = s / (1.01 * s.norm() + 1e-7)
        for i in range(iterations):
            a, b, c = _EXPRESS[i] if i < 7 else (1.875, -1.25, 0.375)
            y = x / 1.01 if i < 7 else x
            x = a * y + b * y**3 + c * y**5
    return u * x @ vh


def _shaped(g, method, iterations, shaping):
    matrix = g.reshape(len(g), -1)
    m, n = matrix.shape
    factor = {"original": max(1, m / n) ** 0.5, "match_rms_adamw": 0.2 * max(m, n) ** 0.5}[shaping]
    return (factor * _polar(matrix, method, iterations)).reshape(g.shape)


def muon(
    problem,
    w,
    steps,
    lr,
    momentum=0.95,
    nesterov=True,
    decay=0.0,
    shaping="original",
    method="newton-schulz",
    iterations=5,
    adam_ratio=0.015,
    beta1=0.9,
    beta2=0.95,
    eps=1e-10,
    beta=None,
):
    buf = {k: torch.zeros_like(x) for k, x in w.items()}
    adam_m = {k: torch.zeros_like(x) for k, x in w.items()}
    adam_v = {k: torch.zeros_like(x) for k, x in w.items()}
    row_v = dict.fromkeys(w, 0.0)
    for t in range(1, steps + 1):
        g, w = problem.grad(w, t - 1), dict(w)
        for k in w:
            if problem.role[k] in _HIDDEN:
                buf[k] = momentum * buf[k] + (1 - momentum) * g[k]
                u = momentum * buf[k] + (1 - momentum) * g[k] if nesterov else buf[k]
                u = _shaped(u, method, iterations, shaping)
                if beta is not None:
                    o = u.reshape(len(u), -1)
                    row_v[k] = beta * row_v[k] + (1 - beta) * (o**2).mean(1, keepdim=True)
                    d = o / (row_v[k].sqrt() + 1e-10)
                    u = (d * o.norm() / (d.norm() + 1e-10)).reshape(u.shape)
                w[k] = (1 - lr * decay) * w[k] - lr * u
            else:
                adam_m[k] = beta1 * adam_m[k] + (1 - beta1) * g[k]
                adam_v[k] = beta2 * adam_v[k] + (1 - beta2) * g[k] ** 2
                m_hat, v_hat = adam_m[k] / (1 - beta1**t), adam_v[k] / (1 - beta2**t)
                rate = adam_ratio * lr
                w[k] = (1 - rate * decay) * w[k] - rate * m_hat / (v_hat.sqrt() + eps)
    return w


def normuon(problem, w, steps, lr, momentum=0.95, beta=0.95, decay=0.0, shaping="original"):
    return muon(problem, w, steps, lr, momentum, beta=beta, decay=decay, shaping=shaping)


def scion(
    problem,
    w,
    steps,
    lr,
    beta=0.9,
    radius=1.0,
    table_radius=1.0,
    head_radius=60.0,
    vector_radius=1.0,
    constrained=True,
    iterations=5,
):
    d = {k: torch.zeros_like(x) for k, x in w.items()}
    for t in range(steps):
        g, w = problem.grad(w, t), dict(w)
        for k in w:
            d[k] = beta * d[k] + (1 - beta) * g[k]
            role = problem.role[k]
            if role in _HIDDEN:
                out, inputs = d[k].shape[:2]
                area = d[k][0, 0].numel()
                s = _polar(d[k].reshape(out, -1), "newton-schulz", iterations).reshape(d[k].shape)
                s = radius * (out / inputs) ** 0.5 / area * s
            elif role == "embedding":
                s = table_radius * d[k] / ((d[k] ** 2).mean(1, keepdim=True).sqrt() + 1e-8)
            elif role == "head":
                s = head_radius / d[k].shape[1] * d[k].sign()
            else:
                s = vector_radius * d[k] / ((d[k] ** 2).mean().sqrt() + 1e-8)
            w[k] = ((1 - lr) if constrained else 1) * w[k] - lr * s
    return w
