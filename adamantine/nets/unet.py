"""A small U-Net (Ronneberger et al., arXiv:1505.04597) that knows the time, as in diffusion (arXiv:2006.11239).

Convolutions and group normalization (arXiv:1803.08494) only, no attention: the convolutional counterpart of `Dit`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.nets import time_embedding
from adamantine.nets.tags import named
from adamantine.role import Tags
from adamantine.tree import Params

NORMS = ("group", "none")
EPS = 1e-5


@dataclass(frozen=True)
class Unet:
    """A field `[B, inputs, H, W]` of images of that shape and times `[B]`; each example by itself.

    `stages` of one residual block going down, where channels double and the side halves, and as many but one going
    up, each beside what the same side held on the way down. A block is norm, SiLU, 3x3 convolution, plus the time,
    norm, SiLU, 3x3 convolution, beside the identity (a 1x1 convolution where channels change). Parameters: `stem`,
    `down{i}` and `up{i}` with `.conv1/conv2/shortcut/time.weight/time.bias`, gains and biases `....norm1/norm2`,
    `norm`, `time.up/down` and `head`.
    """

    inputs: int = 1
    width: int = 16
    stages: int = 2
    norm: str = "group"
    groups: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if min(self.inputs, self.stages, self.groups) < 1 or self.width < 4:
            raise ValueError("Unet: inputs, stages and groups are at least 1, width at least 4.")
        if self.width % 2:
            raise ValueError(f"Unet: width {self.width} is odd; the features of time come in pairs: make it even.")
        if self.norm not in NORMS:
            raise ValueError(f"Unet: norm {self.norm!r} is not one of {', '.join(NORMS)}.")
        if self.norm == "group" and self.width % self.groups:
            raise ValueError(f"Unet: width {self.width} does not divide into {self.groups} groups.")
        if self.norm == "group" and self.width == self.groups:
            raise ValueError(
                f"Unet: {self.groups} groups of a single channel each would normalize away the time, "
                "which is added channel by channel; give fewer groups."
            )

    def check(self, shape: tuple[int, int, int]) -> None:
        """Raise ValueError where images of `shape` do not fit."""
        if shape[0] != self.inputs:
            raise ValueError(
                f"Unet: images of {shape[0]} channels do not fit a network of {self.inputs}; give "
                f"Unet(inputs={shape[0]}, ...)."
            )
        if any(side % 2 ** (self.stages - 1) for side in shape[1:]):
            raise ValueError(
                f"Unet: images of {shape[1]} by {shape[2]} cannot be halved {self.stages - 1} times; give fewer "
                "stages, or another size."
            )

    def _blocks(self) -> list[tuple[str, int, int]]:
        """Name and channels in and out of every block."""
        sizes = [self.width * 2**i for i in range(self.stages)]
        down = [(f"down{i}", sizes[max(0, i - 1)], sizes[i]) for i in range(self.stages)]
        up = [(f"up{i}", sizes[i + 1] + sizes[i], sizes[i]) for i in reversed(range(self.stages - 1))]
        return down + up

    def init(self, rng: torch.Generator) -> Params:
        """Convolutions of variance `2 / fan-in`, without normalization the last of each block smaller; the head zero.

        The field is therefore zero before training.
        """

        def conv(after: int, before: int, side: int) -> Tensor:
            return torch.randn(after, before, side, side, generator=rng) * (2 / (before * side * side)) ** 0.5

        time = 4 * self.width
        w = {"stem": conv(self.width, self.inputs, 3), **time_embedding.init(time, rng)}
        blocks = self._blocks()
        for name, before, after in blocks:
            w |= self._gain(f"{name}.norm1", before)
            w[f"{name}.conv1"] = conv(after, before, 3)
            w[f"{name}.time.weight"] = torch.randn(after, time, generator=rng) * time**-0.5
            w[f"{name}.time.bias"] = torch.zeros(after)
            w |= self._gain(f"{name}.norm2", after)
            # What residual branches add up to must not grow with their number where nothing normalizes it.
            shrink = len(blocks) ** -0.5 if self.norm == "none" else 1.0
            w[f"{name}.conv2"] = conv(after, after, 3) * shrink
            if before != after:
                w[f"{name}.shortcut"] = conv(after, before, 1)
        w |= self._gain("norm", self.width)
        w["head.weight"] = torch.zeros(self.inputs, self.width, 3, 3)
        w["head.bias"] = torch.zeros(self.inputs)
        return w

    def _gain(self, name: str, n: int) -> Params:
        return {} if self.norm == "none" else {f"{name}.gain": torch.ones(n), f"{name}.bias": torch.zeros(n)}

    def tags(self) -> Tags:
        """The role of every tensor."""
        return named(self.init(torch.Generator()))

    def __call__(self, w: Params, x: Tensor, t: Tensor) -> Tensor:
        """The field `[B, inputs, H, W]` at images `x` of the same shape and times `t [B]` from 0 to 1."""
        time = F.silu(time_embedding.embed(w, t))
        x, beside = F.conv2d(x, w["stem"], padding=1), []
        for i in range(self.stages):
            x = self._block(w, f"down{i}", F.avg_pool2d(x, 2) if i else x, time)
            beside.append(x)
        for i in reversed(range(self.stages - 1)):
            wider = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self._block(w, f"up{i}", torch.cat([wider, beside[i]], 1), time)
        x = F.silu(self._normed(w, "norm", x))
        return F.conv2d(x, w["head.weight"], w["head.bias"], padding=1)

    def _block(self, w: Params, name: str, x: Tensor, time: Tensor) -> Tensor:
        h = F.conv2d(F.silu(self._normed(w, f"{name}.norm1", x)), w[f"{name}.conv1"], padding=1)
        h = h + F.linear(time, w[f"{name}.time.weight"], w[f"{name}.time.bias"])[:, :, None, None]
        h = F.conv2d(F.silu(self._normed(w, f"{name}.norm2", h)), w[f"{name}.conv2"], padding=1)
        shortcut = w.get(f"{name}.shortcut")
        return h + (x if shortcut is None else F.conv2d(x, shortcut))

    def _normed(self, w: Params, name: str, x: Tensor) -> Tensor:
        if self.norm == "none":
            return x
        return F.group_norm(x, self.groups, w[f"{name}.gain"], w[f"{name}.bias"], EPS)
