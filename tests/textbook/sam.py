"""SAM (arXiv:2010.01412, algorithm 1) and ASAM (arXiv:2102.11600, algorithm 1), both around momentum SGD."""

import torch

CASES = {
    "sam": [{"rho": 0.3, "beta": 0.5, "decay": 0.1, "lr": 0.1}],
    "asam": [{"rho": 1.0, "eta": 0.1, "beta": 0.5, "decay": 0.1, "lr": 0.1}],
}


def _loop(problem, w, steps, lr, beta, decay, perturbation):
    m = {k: torch.zeros_like(x) for k, x in w.items()}
    for t in range(steps):
        e, w = perturbation(w, problem.grad(w, t)), dict(w)
        g = problem.grad({k: w[k] + e[k] for k in w}, t)
        for k in w:
            m[k] = beta * m[k] + g[k] + decay * w[k]
            w[k] = w[k] - lr * m[k]
    return w


def _length(a):
    return torch.cat([x.flatten() for x in a.values()]).norm()


def sam(problem, w, steps, lr, rho=0.05, beta=0.9, decay=0.0):
    return _loop(problem, w, steps, lr, beta, decay, lambda w, g: {k: rho * g[k] / (_length(g) + 1e-12) for k in w})


def asam(problem, w, steps, lr, rho=0.5, eta=0.01, beta=0.9, decay=0.0):
    def perturbation(w, g):
        scale = {k: w[k].abs() + eta for k in w}
        length = _length({k: scale[k] * g[k] for k in w}) + 1e-12
        return {k: rho * scale[k] ** 2 * g[k] / length for k in w}

    return _loop(problem, w, steps, lr, beta, decay, perturbation)
