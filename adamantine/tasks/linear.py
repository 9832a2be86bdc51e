"""Deep linear networks: the loss of a product of matrices (Saxe et al., arXiv:1312.6120)."""

import itertools
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from adamantine.point import Draw, stream
from adamantine.role import Tag, Tags
from adamantine.tree import Params


@dataclass(frozen=True)
class DeepLinear:
    """`|W_L ... W_1 - M|_F^2 / 2` for a fixed `M` with the given singular values: regression on whitened inputs.

    `widths` are the sizes from input to output. The example `j` is the `j`-th input direction times the root of
    their number, so that the mean over all examples is the loss. Raises ValueError where the fields do not fit.
    """

    widths: tuple[int, ...] = (4, 5, 3)
    singular_values: tuple[float, ...] = (3.0, 2.0, 1.0)
    scale: float = 0.5
    data_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not fit."""
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"DeepLinear: widths {self.widths} need an input and an output, all at least 1.")
        if len(self.singular_values) > min(self.widths[0], self.widths[-1]):
            raise ValueError(f"DeepLinear: {len(self.singular_values)} singular values do not fit {self.widths}.")

    def target(self) -> Tensor:
        """`M`, `[out, in]`, float64."""
        return _target(self)

    def minimum(self) -> float:
        """Half the squares of the singular values that a product as narrow as the narrowest layer cannot have."""
        rest = sorted(self.singular_values, reverse=True)[min(self.widths) :]
        return 0.5 * sum(s * s for s in rest)

    def product(self, w: Params) -> Tensor:
        """`W_L ... W_1`."""
        out = w["layer0"]
        for i in range(1, len(self.widths) - 1):
            out = w[f"layer{i}"] @ out
        return out

    def gradient(self, w: Params) -> Params:
        """Of the loss: `(W_L ... W_(i+1))' (W_L ... W_1 - M) (W_(i-1) ... W_1)'`."""
        error, out = self.product(w) - self.target().to(w["layer0"].dtype), {}
        depth = len(self.widths) - 1
        for i in range(depth):
            above = torch.eye(self.widths[-1], dtype=error.dtype)
            for j in range(depth - 1, i, -1):
                above = above @ w[f"layer{j}"]
            below = torch.eye(self.widths[0], dtype=error.dtype)
            for j in range(i):
                below = w[f"layer{j}"] @ below
            out[f"layer{i}"] = above.T @ error @ below.T
        return out

    def imbalance(self, w: Params) -> list[Tensor]:
        """`W_(i+1)' W_(i+1) - W_i W_i'` for every pair of layers: gradient flow conserves them."""
        layers = [w[f"layer{i}"] for i in range(len(self.widths) - 1)]
        return [b.T @ b - a @ a.T for a, b in itertools.pairwise(layers)]

    def init(self, rng: torch.Generator) -> Params:
        """Normal of deviation `scale / sqrt(fan-in)`."""
        shapes = [(m, n) for n, m in itertools.pairwise(self.widths)]
        return {f"layer{i}": torch.randn(s, generator=rng) * self.scale / s[1] ** 0.5 for i, s in enumerate(shapes)}

    def tags(self) -> Tags:
        """Matrices, the last one the head."""
        last = len(self.widths) - 2
        return Tags(tuple((f"layer{i}", Tag("head" if i == last else "matrix")) for i in range(last + 1)))

    def source(self, rng: torch.Generator) -> Draw:
        """Every example, each time: input directions `[in]` by their number."""
        return lambda w: torch.arange(self.widths[0])

    def losses(self, w: Params, batch: Tensor) -> Tensor:
        """`in / 2` times the squared error of each input direction, `[B]`."""
        return self.outputs_and_losses(w, batch)[1]

    def outputs_and_losses(self, w: Params, batch: Tensor) -> tuple[Tensor, Tensor]:
        """The product of the layers and the losses."""
        product = self.product(w)
        error = product - self.target().to(w["layer0"].device, w["layer0"].dtype)
        return product, 0.5 * self.widths[0] * error.square().sum(0)[batch]

    @torch.no_grad()
    def score(self, w: Params) -> dict[str, float]:
        """`held_out`: the loss."""
        return {"held_out": float(0.5 * (self.product(w).double().cpu() - self.target()).square().sum())}


@lru_cache(maxsize=16)
def _target(task: DeepLinear) -> Tensor:
    m, n, k = task.widths[-1], task.widths[0], len(task.singular_values)
    rng = stream(task.data_seed, "deep linear")
    left = torch.linalg.qr(torch.randn(m, m, generator=rng, dtype=torch.float64))[0][:, :k]
    right = torch.linalg.qr(torch.randn(n, n, generator=rng, dtype=torch.float64))[0][:, :k]
    return (left * torch.tensor(task.singular_values, dtype=torch.float64)) @ right.T
