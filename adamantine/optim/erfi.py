"""The imaginary error function, which torch lacks: `erfi(x) = (2 / sqrt(pi)) * integral of exp(t^2) from 0 to x`."""

from math import pi, sqrt

import torch
from torch import Tensor

SWITCH = 6.0  # where both ways are good to double precision
TERMS, TAIL = 120, 30


def erfi(x: Tensor) -> Tensor:
    """By its Taylor series, whose terms all have one sign, up to 6; beyond by the asymptotic series."""
    y = x.abs()
    near = y.clamp(max=SWITCH)
    n = torch.arange(1, TERMS, dtype=x.dtype, device=x.device)
    terms = torch.cumprod(near.square().unsqueeze(-1) / n, -1)
    small = 2 / sqrt(pi) * near * (1 + (terms / (2 * n + 1)).sum(-1))
    far = y.clamp(min=SWITCH)
    k = torch.arange(1, TAIL, dtype=x.dtype, device=x.device)
    tail = torch.cumprod((2 * k - 1) / (2 * far.square().unsqueeze(-1)), -1).sum(-1)
    large = far.square().exp() / (sqrt(pi) * far) * (1 + tail)
    return x.sign() * torch.where(y < SWITCH, small, large)
