"""A small residual network (He et al., arXiv:1603.05027, pre-activation) with batch, group or no normalization.

Batch normalization: Ioffe & Szegedy, arXiv:1502.03167; group normalization: Wu & He, arXiv:1803.08494.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.nets.tags import named
from adamantine.role import Tags
from adamantine.tree import Params

NORMS = ("batch", "group", "none")
EPS = 1e-5
Statistics = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ResNet:
    """`stages` of `blocks` residual blocks; channels double and the side halves from one stage to the next.

    `inputs` channels in, `width` in the first stage. A block is norm, ReLU, 3x3 convolution, twice, beside the
    identity (a 1x1 convolution where the shape changes). Parameters: `stem`, `stage{i}.block{j}.conv1/conv2/shortcut`,
    gains and biases `....norm1/norm2`, `norm`, and `head.weight`, `head.bias`. With batch normalization the loss of an
    example depends on its batch; `statistics` gives what evaluation uses instead.
    """

    inputs: int = 1
    classes: int = 10
    width: int = 16
    stages: int = 2
    blocks: int = 1
    norm: str = "group"
    groups: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if min(self.inputs, self.classes, self.width, self.stages, self.blocks, self.groups) < 1:
            raise ValueError("ResNet: inputs, classes, width, stages, blocks and groups are at least 1.")
        if self.norm not in NORMS:
            raise ValueError(f"ResNet: norm {self.norm!r} is not one of {', '.join(NORMS)}.")
        if self.norm == "group" and self.width % self.groups:
            raise ValueError(f"ResNet: width {self.width} does not divide into {self.groups} groups.")

    def check(self, shape: tuple[int, int, int], classes: int) -> None:
        """Raise ValueError where images of `shape` in so many `classes` do not fit."""
        if (self.inputs, self.classes) != (shape[0], classes):
            raise ValueError(
                f"ResNet: {shape[0]} channels and {classes} classes do not fit a network of {self.inputs} and "
                f"{self.classes}; give ResNet(inputs={shape[0]}, classes={classes}, ...)."
            )

    def _blocks(self) -> list[tuple[str, int, int, int]]:
        """Name, channels in and out, and stride of every block."""
        out, before = [], self.width
        for i in range(self.stages):
            for j in range(self.blocks):
                after = self.width * 2**i
                out.append((f"stage{i}.block{j}", before, after, 2 if i and not j else 1))
                before = after
        return out

    def init(self, rng: torch.Generator) -> Params:
        """Convolutions of variance `2 / fan-in`; without normalization the last of each block over `blocks in all`."""

        def conv(after: int, before: int, side: int) -> Tensor:
            return torch.randn(after, before, side, side, generator=rng) * (2 / (before * side * side)) ** 0.5

        w = {"stem": conv(self.width, self.inputs, 3)}
        blocks = self._blocks()
        for name, before, after, stride in blocks:
            w |= self._gain(f"{name}.norm1", before)
            w[f"{name}.conv1"] = conv(after, before, 3)
            w |= self._gain(f"{name}.norm2", after)
            # What residual branches add up to must not grow with their number where nothing normalizes it.
            shrink = len(blocks) ** -0.5 if self.norm == "none" else 1.0
            w[f"{name}.conv2"] = conv(after, after, 3) * shrink
            if before != after or stride > 1:
                w[f"{name}.shortcut"] = conv(after, before, 1)
        last = blocks[-1][2]
        w |= self._gain("norm", last)
        w["head.weight"] = torch.randn(self.classes, last, generator=rng) * last**-0.5
        w["head.bias"] = torch.zeros(self.classes)
        return w

    def _gain(self, name: str, n: int) -> Params:
        return {} if self.norm == "none" else {f"{name}.gain": torch.ones(n), f"{name}.bias": torch.zeros(n)}

    def tags(self) -> Tags:
        """The role of every tensor."""
        return named(self.init(torch.Generator()))

    def __call__(self, w: Params, x: Tensor, statistics: Statistics | None = None) -> Tensor:
        """Logits `[B, classes]` of `[B, inputs, H, W]`; without `statistics`, batch normalization uses the batch."""
        return self._forward(w, x, statistics, None)

    def statistics(self, w: Params, x: Tensor) -> Statistics:
        """Mean and unbiased variance of every channel at every normalization, over the images `x`: one forward pass."""
        seen: Statistics = {}
        self._forward(w, x, None, seen)
        return seen

    def _forward(self, w: Params, x: Tensor, given: Statistics | None, seen: Statistics | None) -> Tensor:
        x = F.conv2d(x, w["stem"], padding=1)
        for name, _, _, stride in self._blocks():
            h = F.relu(self._normed(w, f"{name}.norm1", x, given, seen))
            shortcut = w.get(f"{name}.shortcut")
            x = x if shortcut is None else F.conv2d(h, shortcut, stride=stride)
            h = F.conv2d(h, w[f"{name}.conv1"], stride=stride, padding=1)
            h = F.relu(self._normed(w, f"{name}.norm2", h, given, seen))
            x = x + F.conv2d(h, w[f"{name}.conv2"], padding=1)
        x = F.relu(self._normed(w, "norm", x, given, seen)).mean((2, 3))
        return F.linear(x, w["head.weight"], w["head.bias"])

    def _normed(self, w: Params, name: str, x: Tensor, given: Statistics | None, seen: Statistics | None) -> Tensor:
        if self.norm == "none":
            return x
        gain, bias = w[f"{name}.gain"], w[f"{name}.bias"]
        if self.norm == "group":
            return F.group_norm(x, self.groups, gain, bias, EPS)
        if given is not None:
            mean, variance = given[name]
            return F.batch_norm(x, mean, variance, gain, bias, training=False, eps=EPS)
        if seen is not None:
            seen[name] = x.detach().mean((0, 2, 3)), x.detach().var((0, 2, 3))
        return F.batch_norm(x, None, None, gain, bias, training=True, eps=EPS)
