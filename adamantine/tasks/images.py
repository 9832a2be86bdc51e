"""Image recognition."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.data import digits
from adamantine.nets.mlp import Mlp
from adamantine.point import Draw
from adamantine.tree import Params


@dataclass(frozen=True)
class Images:
    """Cross-entropy, in nats, of a network on scikit-learn's handwritten digits; batches drawn with replacement."""

    net: Mlp = field(default_factory=Mlp)
    batch: int = 64

    def __post_init__(self) -> None:
        """Refuse a network that does not fit the images."""
        if (self.net.inputs, self.net.classes) != (64, 10):
            raise ValueError(
                f"Images: the digits have 64 pixels and 10 classes; the network takes {self.net.inputs} and "
                f"gives {self.net.classes}."
            )

    def init(self, rng: torch.Generator) -> Params:
        """The network's own."""
        return self.net.init(rng)

    def source(self, rng: torch.Generator) -> Draw:
        """Batches `{"x": [B, 8, 8], "y": [B]}` from the training images."""
        x, y, _, _ = digits.split()

        def draw(w: Params) -> dict[str, Tensor]:
            i = torch.randint(len(x), (self.batch,), generator=rng)
            return {"x": x[i], "y": y[i]}

        return draw

    def losses(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of each image, `[B]`."""
        return F.cross_entropy(self.net(w, batch["x"]), batch["y"], reduction="none")

    @torch.no_grad()
    def score(self, w: Params) -> dict[str, float]:
        """`held_out` loss and `accuracy` on images never trained on."""
        _, _, x, y = digits.split()
        first = next(iter(w.values()))
        x, y = x.to(first.device, first.dtype), y.to(first.device)
        logits = self.net(w, x)
        return {
            "held_out": F.cross_entropy(logits, y).item(),
            "accuracy": (logits.argmax(1) == y).float().mean().item(),
        }
