"""Division by the root of a running second moment, kept per coordinate or shared by blocks.

Full: Adam (arXiv:1412.6980) without its momentum. Shared: AdaSGD over everything (arXiv:2006.16541), Adalayer
over a tensor (arXiv:2407.07972), Adam-mini's row of an output neuron (arXiv:2406.16793), or an input column.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine import tree
from adamantine.optim.momentum import fraction
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params

SYMMETRY = {
    "full": "signed permutation",
    "row": "row rotation",
    "column": "column rotation",
    "tensor": "layer rotation",
    "all": "rotation",
}


@dataclass(frozen=True)
class Rms(Part):
    """Divide by `sqrt(v / (1 - beta^t)) + eps`, `v <- beta v + (1 - beta) mean_block(g^2)`, `g` the raw gradient.

    `shape` says which coordinates share one `v`: "full" none, "row" those of an output neuron (dimension 0),
    "column" those leaving an input neuron, "tensor", or "all". A tensor with fewer than two dimensions is one row
    and one column; one with more is seen as the matrix `[size(0), rest]`.
    """

    beta: float = 0.999
    eps: float = 1e-8
    shape: str = "full"

    def __post_init__(self) -> None:
        """Refuse a beta outside [0, 1), a negative eps, an unknown shape."""
        fraction("Rms", "beta", self.beta)
        if self.eps < 0:
            raise ValueError(f"Rms: eps is {self.eps}; it must not be negative.")
        if self.shape not in SYMMETRY:
            raise ValueError(f"Rms: shape {self.shape!r} is not one of {', '.join(SYMMETRY)}.")

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Rotations within a block leave its mean square alone."""
        return SYMMETRY[self.shape]

    def init(self, w: Params) -> State:
        """`v`, zero, and the step count."""
        if self.shape == "all":
            first = next(iter(w.values()))
            return {"all": torch.zeros((), dtype=first.dtype, device=first.device)}, 0
        return tree.each(lambda x: torch.zeros_like(self._mean(x)), w), 0

    def _mean(self, x: Tensor) -> Tensor:
        """Mean over each block, of a shape that broadcasts against `x`."""
        if self.shape == "full":
            return x
        if self.shape == "tensor" or x.ndim < 2:
            return x.mean()
        return x.mean(tuple(range(1, x.ndim)), keepdim=True) if self.shape == "row" else x.mean(0, keepdim=True)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Update `v` from the gradient at this point, then divide."""
        t = s[1] + 1
        if self.shape == "all":
            total = torch.stack([p.grad[k].square().sum() for k in u]).sum()
            v = {"all": s[0]["all"].lerp(total / tree.size(u), 1 - self.beta)}
        else:
            v = {k: s[0][k].lerp(self._mean(p.grad[k].square()), 1 - self.beta) for k in u}
        correction = 1 - self.beta**t
        root = {k: (x / correction).sqrt_().add_(self.eps) for k, x in v.items()}
        return {k: x / root["all" if self.shape == "all" else k] for k, x in u.items()}, (v, t)

    def state_bytes(self, w: Params) -> int:
        """One number a block."""
        return sum(x.numel() * x.element_size() for _, x in tree.leaves(self.init(w)))


@dataclass(frozen=True)
class RmsProp(Part):
    """RMSprop as in torch (Hinton's lecture 6e): no debiasing; `centered` subtracts the squared mean gradient."""

    alpha: float = 0.99
    eps: float = 1e-8
    centered: bool = False
    symmetry = "signed permutation"

    def __post_init__(self) -> None:
        """Refuse an alpha outside [0, 1)."""
        fraction("RmsProp", "alpha", self.alpha)

    def init(self, w: Params) -> State:
        """The second moment and, when centered, the mean."""
        zero = tree.each(torch.zeros_like, w)
        return (zero, zero) if self.centered else (zero,)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """Divide by `sqrt(v - mean^2) + eps`."""
        g = {k: p.grad[k] for k in u}
        v = tree.each(lambda v, x: v.lerp(x * x, 1 - self.alpha), s[0], g)
        if not self.centered:
            return tree.each(lambda x, v: x / (v.sqrt() + self.eps), u, v), (v,)
        mean = tree.each(lambda m, x: m.lerp(x, 1 - self.alpha), s[1], g)
        out = tree.each(lambda x, v, m: x / ((v - m * m).sqrt() + self.eps), u, v, mean)
        return out, (v, mean)

    def state_bytes(self, w: Params) -> int:
        """One number a coordinate, two when centered."""
        return tree.size_bytes(w) * (2 if self.centered else 1)
