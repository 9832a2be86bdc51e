"""A small network with a tensor of every common role, for comparing optimizers step by step in float64."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from adamantine.point import stream
from adamantine.role import Tag, Tags

SHAPES = {
    "embed": (7, 6),
    "norm": (6,),
    "query": (6, 6),
    "up": (8, 6),
    "up.bias": (8,),
    "down": (6, 8),
    "conv": (4, 3, 2, 2),
    "head": (5, 10),
    "head.bias": (5,),
}
ROLE = dict(
    zip(SHAPES, ("embedding", "norm", "query", "up", "bias", "down", "convolution", "head", "bias"), strict=True)
)
TAGS = Tags(tuple((k, Tag(role, heads=2 if role == "query" else 0)) for k, role in ROLE.items()))


@dataclass(frozen=True)
class Problem:
    """Classification of pairs of tokens into five classes; deterministic given the step."""

    seed: int = 0
    role = ROLE
    tags = TAGS

    def init(self, rng):
        w = {k: torch.randn(s, generator=rng, dtype=torch.float64) / s[-1] ** 0.5 for k, s in SHAPES.items()}
        return {**w, "norm": torch.ones(6, dtype=torch.float64), "up.bias": w["up.bias"] / 10}

    def start(self):
        return self.init(stream(self.seed, "init"))

    def batch(self, t):
        return torch.randint(7, (24, 2), generator=stream(self.seed, f"batch/{t}"))

    def source(self, rng):
        count = iter(range(10**9))
        return lambda w: self.batch(next(count))

    def losses(self, w, batch):
        x = w["embed"][batch]
        y = x.mean(1) * w["norm"]
        y = y + torch.tanh(y @ w["query"].T)
        y = y + torch.tanh(y @ w["up"].T + w["up.bias"]) @ w["down"].T
        c = torch.tanh(F.conv2d(x.reshape(-1, 3, 2, 2), w["conv"]).flatten(1))
        logits = torch.cat([y, c], 1) @ w["head"].T + w["head.bias"]
        return F.cross_entropy(logits, (3 * batch[:, 0] + batch[:, 1]) % 5, reduction="none")

    def score(self, w):
        return {}

    def grad(self, w, t):
        held = {k: x.detach().requires_grad_() for k, x in w.items()}
        out = torch.autograd.grad(self.losses(held, self.batch(t)).mean(), list(held.values()))
        return dict(zip(w, out, strict=True))

    def hvp(self, w, v, t):
        held = {k: x.detach().requires_grad_() for k, x in w.items()}
        grads = torch.autograd.grad(self.losses(held, self.batch(t)).mean(), list(held.values()), create_graph=True)
        out = torch.autograd.grad(grads, list(held.values()), [v[k] for k in w])
        return dict(zip(w, out, strict=True))
