"""Kernels of torch with derivatives written by hand, each beside the same function of primitives."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from adamantine.tree import Params

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
GROUPS, HEADS, EPS = 2, 2, 1e-5


@dataclass(frozen=True)
class Op:
    """A kernel of torch, `native(x, gain, bias)` with `x [B, T, D]`, and the same from primitives.

    `splits` is False where it couples the examples.
    """

    name: str
    native: Kernel
    primitive: Kernel
    splits: bool = True


@dataclass(frozen=True)
class Network:
    """The task: a matrix, the kernel, then losses with derivatives of every order."""

    kernel: Kernel
    splits: bool = True

    def init(self, rng: torch.Generator) -> Params:
        """A matrix `[8, 8]`, and the gain and bias of the kernel."""
        return {k: _normal(rng, *shape) for k, shape in {"mix": (8, 8), "gain": (8,), "bias": (8,)}.items()}

    def source(self, rng: torch.Generator) -> Callable[[Params], tuple[Tensor, Tensor]]:
        """Four sequences of five tokens, and the weights of their losses."""
        return lambda _: (_normal(rng, 4, 5, 8), _normal(rng, 4, 5, 8))

    def outputs_and_losses(self, w: Params, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What the kernel gives, and `sum c (tanh y + y^3)` of every example."""
        x, c = batch
        y = self.kernel(x @ w["mix"], w["gain"], w["bias"])
        return y, (c * (y.tanh() + y**3)).sum((1, 2))

    def losses(self, w: Params, batch: tuple[Tensor, Tensor]) -> Tensor:
        """One number an example."""
        return self.outputs_and_losses(w, batch)[1]

    def score(self, w: Params) -> dict[str, float]:
        """Nothing."""
        return {}


def _normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def _standard(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    x = x - x.mean(axes, keepdim=True)
    return x * ((x * x).mean(axes, keepdim=True) + EPS).rsqrt()


def _grouped(x: Tensor) -> Tensor:
    return _standard(x.unflatten(2, (GROUPS, -1)), (1, 3)).flatten(2)


def _heads(x: Tensor, gain: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x = x.unflatten(2, (HEADS, -1)).transpose(1, 2)
    return x, x * gain.mean(), x.sin() + bias.mean()


def _attention(x: Tensor, gain: Tensor, bias: Tensor, math: bool) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH) if math else nullcontext():
        return F.scaled_dot_product_attention(*_heads(x, gain, bias), is_causal=True).transpose(1, 2).flatten(2)


def _attention_primitive(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    q, k, v = _heads(x, gain, bias)
    past = torch.ones(x.shape[1], x.shape[1], device=x.device, dtype=x.dtype).tril()
    weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).exp() * past
    return (weights / weights.sum(3, keepdim=True) @ v).transpose(1, 2).flatten(2)


OPS = (
    Op(
        "layer norm",
        lambda x, gain, bias: F.layer_norm(x, gain.shape, gain, bias, EPS),
        lambda x, gain, bias: _standard(x, (2,)) * gain + bias,
    ),
    Op(
        "batch norm",
        lambda x, gain, bias: F.batch_norm(x.mT, None, None, gain, bias, True, 0.1, EPS).mT,
        lambda x, gain, bias: _standard(x, (0, 1)) * gain + bias,
        splits=False,
    ),
    Op(
        "rms norm",
        lambda x, gain, bias: F.rms_norm(x, gain.shape, gain, EPS) + bias,
        lambda x, gain, bias: x * ((x * x).mean(2, keepdim=True) + EPS).rsqrt() * gain + bias,
    ),
    Op(
        "group norm",
        lambda x, gain, bias: F.group_norm(x.mT, GROUPS, gain, bias, EPS).mT,
        lambda x, gain, bias: _grouped(x) * gain + bias,
    ),
    Op("attention", partial(_attention, math=False), _attention_primitive),
    Op("attention (math)", partial(_attention, math=True), _attention_primitive),
)
