"""Image recognition: digits (Alpaydin & Kaynak 1998), an endless stream of glyphs, or one's own images, by any
network of `adamantine.nets`.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Distribution

from adamantine.data.digits import Digits
from adamantine.nets.mlp import Mlp
from adamantine.point import Draw, stream
from adamantine.role import Tags
from adamantine.tree import Params

RECALIBRATION = 1024  # training images from which batch normalization takes its statistics for evaluation


@dataclass(frozen=True)
class Images:
    """Cross-entropy, in nats, of `net` on `data`: `Digits`, `Glyphs`, `Pictures`, or anything with their methods.

    Raises ValueError or TypeError where the two do not fit.
    """

    data: Any = field(default_factory=Digits)
    net: Any = field(default_factory=Mlp)
    batch: int = 64

    def __post_init__(self) -> None:
        """Refuse a network that does not fit the images."""
        for name, methods in (("data", ("shape", "classes", "draw", "held_out")), ("net", ("init", "check"))):
            lacking = [m for m in methods if not hasattr(getattr(self, name), m)]
            if lacking:
                raise TypeError(
                    f"Images: {name} {getattr(self, name)!r} lacks {', '.join(lacking)}; give Digits(), say."
                )
        if self.batch < 1:
            raise ValueError(f"Images: batch is {self.batch}; it must be at least 1.")
        self.net.check(self.data.shape, self.data.classes)

    @property
    def splits(self) -> bool:
        """Whether the loss splits by example: not where batch normalization couples the batch."""
        return getattr(self.net, "norm", "") != "batch"

    def init(self, rng: torch.Generator) -> Params:
        """The network's own."""
        return self.net.init(rng)

    def tags(self) -> Tags:
        """The network's own; AttributeError where it has none."""
        return self.net.tags()

    def source(self, rng: torch.Generator) -> Draw:
        """Batches `{"x": [B, C, H, W], "y": [B]}` of training images."""

        def draw(w: Params) -> dict[str, Tensor]:
            x, y = self.data.draw(self.batch, rng)
            return {"x": x, "y": y}

        return draw

    def losses(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of each image, `[B]`."""
        return self.outputs_and_losses(w, batch)[1]

    def outputs_and_losses(self, w: Params, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits `[B, classes]` and the losses."""
        logits = self.net(w, batch["x"])
        return logits, F.cross_entropy(logits, batch["y"], reduction="none")

    def distribution(self, w: Params, batch: dict[str, Tensor]) -> Distribution:
        """Of the class of each image."""
        return Categorical(logits=self.net(w, batch["x"]), validate_args=False)

    @torch.no_grad()
    def score(self, w: Params) -> dict[str, float]:
        """`held_out` loss and `accuracy` on images never trained on.

        Batch normalization then uses the statistics of 1,024 training images at these very weights.
        """
        x, y = self.data.held_out()
        first = next(iter(w.values()))
        x, y = x.to(first.device, first.dtype), y.to(first.device)
        if self.splits:
            logits = self.net(w, x)
        else:
            seen, _ = self.data.draw(RECALIBRATION, stream(0, "batch statistics"))
            logits = self.net(w, x, self.net.statistics(w, seen.to(first.device, first.dtype)))
        return {
            "held_out": F.cross_entropy(logits, y).item(),
            "accuracy": (logits.argmax(1) == y).to(torch.float64).mean().item(),
        }
