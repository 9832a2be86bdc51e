"""Layer normalization (Ba et al., arXiv:1607.06450) and RMS normalization (Zhang & Sennrich, arXiv:1910.07467).

Both use torch's native kernels: reverse over reverse (`Point.hvp`) and forward over reverse are right through
them. Reverse over forward and third derivatives are not, silently, in torch 2.13: do not differentiate a `jvp`
through `layer`.
"""

import torch.nn.functional as F
from torch import Tensor

KINDS = ("layer", "rms", "none")
EPS = 1e-5


def layer(x: Tensor, gain: Tensor, bias: Tensor | None = None) -> Tensor:
    """`gain * (x - mean) / sqrt(variance + 1e-5) + bias` over the last axis of `x [..., D]`; `gain`, `bias` `[D]`."""
    return F.layer_norm(x, gain.shape, gain, bias, EPS)


def rms(x: Tensor, gain: Tensor) -> Tensor:
    """`gain * x / sqrt(mean(x^2) + 1e-5)` over the last axis of `x [..., D]`; `gain [D]`."""
    return F.rms_norm(x, gain.shape, gain, EPS)


def normalize(kind: str, x: Tensor, gain: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """`layer`, `rms` or, for "none", `x` itself; `gain` may be missing for "none" only.

    Raises ValueError for another kind.
    """
    if kind == "none":
        return x
    check(kind, "normalize")
    if gain is None:
        raise ValueError(f"normalize: {kind!r} normalization needs a gain; give a tensor of ones `[D]`.")
    return layer(x, gain, bias) if kind == "layer" else rms(x, gain)


def check(kind: str, owner: str) -> None:
    """Raise ValueError, naming the `owner` of the option, where `kind` is not one of `KINDS`."""
    if kind not in KINDS:
        raise ValueError(f"{owner}: norm {kind!r} is not one of {', '.join(KINDS)}.")
