"""A perceptron among others in one set of parameters, and many of it at once: an actor's or a critic's."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.tree import Params


@dataclass(frozen=True)
class Tower:
    """Hidden layers of `widths` units between `inputs` and `outputs` numbers, tensors named `{name}.layer0.weight` ...

    Weights `[out, in]` and inputs `[B, in]` give outputs `[B, out]`; a stack of weights `[S, out, in]`, biases
    `[S, out]` and inputs `[S, B, in]` gives those of `S` networks, `[S, B, out]`.
    """

    name: str
    inputs: int
    outputs: int
    widths: tuple[int, ...] = (64, 64)
    nonlinearity: Callable[[Tensor], Tensor] = torch.tanh

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, the head last."""
        return (*(f"{self.name}.layer{i}" for i in range(len(self.widths))), f"{self.name}.head")

    def orthogonal(self, rng: torch.Generator, head: float) -> Params:
        """Orthogonal weights of gain `sqrt(2)`, the head's of gain `head`, and biases of zero (arXiv:1312.6120)."""
        w = {}
        for layer, (n, m) in zip(
            self.layers, itertools.pairwise((self.inputs, *self.widths, self.outputs)), strict=True
        ):
            gain = head if layer == self.layers[-1] else math.sqrt(2)
            w[f"{layer}.weight"] = torch.nn.init.orthogonal_(torch.empty(m, n), gain, generator=rng)
            w[f"{layer}.bias"] = torch.zeros(m)
        return w

    def uniform(self, rng: torch.Generator) -> Params:
        """Weights and biases uniform within `1 / sqrt(fan-in)`, as torch's linear layers have them."""
        w = {}
        for layer, (n, m) in zip(
            self.layers, itertools.pairwise((self.inputs, *self.widths, self.outputs)), strict=True
        ):
            w[f"{layer}.weight"] = (2 * torch.rand(m, n, generator=rng) - 1) / n**0.5
            w[f"{layer}.bias"] = (2 * torch.rand(m, generator=rng) - 1) / n**0.5
        return w

    def __call__(self, w: Params, x: Tensor) -> Tensor:
        """Outputs `[..., B, outputs]`."""
        for layer in self.layers[:-1]:
            x = self.nonlinearity(_linear(w, layer, x))
        return _linear(w, self.layers[-1], x)

    def activations(self, w: Params, x: Tensor) -> dict[tuple[str, str], Tensor]:
        """Outputs `[..., B, width]` of every hidden layer, by the names of the layer and of the one that reads it."""
        found = {}
        for layer, reader in itertools.pairwise(self.layers):
            x = self.nonlinearity(_linear(w, layer, x))
            found[layer, reader] = x
        return found


def _linear(w: Params, layer: str, x: Tensor) -> Tensor:
    weight, bias = w[f"{layer}.weight"], w[f"{layer}.bias"]
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    return torch.baddbmm(bias.unsqueeze(-2), x, weight.mT)
