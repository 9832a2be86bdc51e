"""SOAP (arXiv:2409.11321, algorithm 3): Adam in the slowly turning eigenbasis of Shampoo's two averages.

Conventions where the paper leaves room: tensors of more axes are matrices with all but the first along the columns,
vectors get Adam; the first step is taken, in the eigenbasis of its own gradient; while the gradients so far cannot span
the longer side (`t` before this one, `t (min(m, n) - 1) < max(m, n)`, as a softmax's lack one rank) the basis is found
afresh in every step, for what no gradient has met is arbitrary in it, and the second moment is turned along by squared
entries, as if coordinates were uncorrelated; later it is renewed every `every` steps by one step of orthogonal
iteration, and the second moment stays. An eigenvector keeps its sign, so that averages in its coordinates keep their
meaning.
"""

import torch

# At the default `eps` directions that no gradient has are noise of 1e-16 / eps.
CASES = {
    "soap": [
        {"tol": 1e-6},
        {"every": 1, "eps": 1e-4},
        {"beta1": 0.9, "beta2": 0.8, "eps": 1e-4, "decay": 0.3, "every": 3},
    ]
}


def _basis(average, old, fresh):
    if fresh:
        values, vectors = torch.linalg.eigh(average)
        new = vectors[:, torch.argsort(values, descending=True)]
    else:
        new = torch.linalg.qr(average @ old).Q
    for j in range(new.shape[1]):
        if float(new[:, j] @ old[:, j]) < 0:
            new[:, j] *= -1
    return new


def soap(problem, w, steps, lr, beta1=0.95, beta2=0.95, eps=1e-8, decay=0.0, every=10):
    """One loop; `left` and `right` are the averages of `G G'` and `G' G`."""
    size = {k: (x.shape[0], x.numel() // x.shape[0]) for k, x in w.items() if x.dim() > 1}
    eye = torch.eye(max(max(s) for s in size.values()), dtype=torch.float64)
    left, right = {k: 0 * eye[:a, :a] for k, (a, b) in size.items()}, {k: 0 * eye[:b, :b] for k, (a, b) in size.items()}
    q, r = {k: eye[:a, :a] for k, (a, b) in size.items()}, {k: eye[:b, :b] for k, (a, b) in size.items()}
    m = {k: torch.zeros_like(x) for k, x in w.items()}
    v = {k: torch.zeros_like(x).reshape(*size[k]) if k in size else torch.zeros_like(x) for k, x in w.items()}
    for t in range(steps):
        grad, w = problem.grad(w, t), dict(w)
        for k in w:
            m[k] = beta1 * m[k] + (1 - beta1) * grad[k]
            g, u = grad[k], m[k] / (1 - beta1 ** (t + 1))
            if k in size:
                g, u = g.reshape(*size[k]), u.reshape(*size[k])
                left[k] = beta2 * left[k] + (1 - beta2) * g @ g.T
                right[k] = beta2 * right[k] + (1 - beta2) * g.T @ g
                early = t * max(min(size[k]) - 1, 1) < max(size[k])
                if early or t % every == 0:
                    before = q[k], r[k]
                    q[k], r[k] = _basis(left[k], q[k], early), _basis(right[k], r[k], early)
                    if early:
                        v[k] = (q[k].T @ before[0]) ** 2 @ v[k] @ (before[1].T @ r[k]) ** 2
                g, u = q[k].T @ g @ r[k], q[k].T @ u @ r[k]
            v[k] = beta2 * v[k] + (1 - beta2) * g**2
            u = u / ((v[k] / (1 - beta2 ** (t + 1))).sqrt() + eps)
            if k in size:
                u = q[k] @ u @ r[k].T
            w[k] = w[k] - lr * (u.reshape(w[k].shape) + decay * w[k])
    return w
