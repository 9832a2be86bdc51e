"""Sinusoidal features (Vaswani et al., arXiv:1706.03762) and the small network that makes a time a vector of them.

Time runs from 0 to 1 here and not over a thousand steps, so the frequencies lie in 1 to 100 radians.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.tree import Params


def sinusoids(x: Tensor, n: int, low: float, high: float) -> Tensor:
    """`[cos(f x), sin(f x)]` with `n / 2` frequencies `f` in geometric steps from `low` to `high`: `[..., n]`."""
    powers = torch.linspace(0, 1, n // 2, dtype=x.dtype, device=x.device)
    turned = x[..., None] * (low * (high / low) ** powers)
    return torch.cat([turned.cos(), turned.sin()], -1)


def init(width: int, rng: torch.Generator) -> Params:
    """`time.up` and `time.down`, weights of variance `1 / width` and biases of zero."""
    w = {}
    for name in ("time.up", "time.down"):
        w[f"{name}.weight"] = torch.randn(width, width, generator=rng) * width**-0.5
        w[f"{name}.bias"] = torch.zeros(width)
    return w


def embed(w: Params, t: Tensor) -> Tensor:
    """Vectors `[B, width]` of times `t [B]`: features, linear, SiLU, linear."""
    features = sinusoids(t, w["time.up.weight"].shape[1], 1.0, 100.0)
    h = F.silu(F.linear(features, w["time.up.weight"], w["time.up.bias"]))
    return F.linear(h, w["time.down.weight"], w["time.down.bias"])
