"""Language modelling of real text, byte by byte."""

import functools
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.data import text
from adamantine.nets.decoder import Decoder
from adamantine.point import Draw, stream
from adamantine.tree import Params


@dataclass(frozen=True)
class Language:
    """Cross-entropy, in nats a byte, of a decoder on `text`: "stdlib" or the path of a file or folder.

    Batches are windows of the model's context from the first nine tenths; the last tenth is held out.
    """

    text: str = "stdlib"
    model: Decoder = field(default_factory=Decoder)
    batch: int = 16
    limit: int = 2_000_000
    held_out: int = 64

    def __post_init__(self) -> None:
        """Refuse a vocabulary that does not hold the bytes."""
        if self.model.vocabulary < 256:
            raise ValueError(f"Language: a byte model needs a vocabulary of 256, not {self.model.vocabulary}.")

    def fingerprint(self) -> str:
        """Hash of the text's bytes."""
        return text.fingerprint(text.load(self.text, self.limit))

    def _split(self) -> tuple[Tensor, Tensor]:
        train, test = _tokens(self.text, self.limit)
        if len(test) <= self.model.context + 1:
            raise ValueError(
                f"Language: text {self.text!r} has {len(train) + len(test)} bytes; a context of "
                f"{self.model.context} needs at least {10 * (self.model.context + 2)}."
            )
        return train, test

    def init(self, rng: torch.Generator) -> Params:
        """The decoder's own."""
        return self.model.init(rng)

    def _windows(self, data: Tensor, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        start = torch.randint(len(data) - self.model.context - 1, (count, 1), generator=rng)
        window = data[start + torch.arange(self.model.context + 1)].long()
        return {"x": window[:, :-1], "y": window[:, 1:]}

    def source(self, rng: torch.Generator) -> Draw:
        """Batches `{"x": [B, T], "y": [B, T]}`, and the dropout `seeds [B]` where there is dropout."""
        train, _ = self._split()

        def draw(w: Params) -> dict[str, Tensor]:
            batch = self._windows(train, self.batch, rng)
            if self.model.dropout:
                batch["seeds"] = torch.randint(2**31, (self.batch,), generator=rng)
            return batch

        return draw

    def losses(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """Mean cross-entropy of each sequence, `[B]`."""
        logits = self.model(w, batch["x"], batch.get("seeds"))
        each = F.cross_entropy(logits.flatten(0, 1), batch["y"].flatten(), reduction="none")
        return each.view(batch["y"].shape).mean(1)

    @torch.no_grad()
    def score(self, w: Params) -> dict[str, float]:
        """`held_out` loss on fixed windows of the text's last tenth, without dropout."""
        batch = self._windows(self._split()[1], self.held_out, stream(0, "held-out windows"))
        device = next(iter(w.values())).device
        return {"held_out": self.losses(w, {k: x.to(device) for k, x in batch.items()}).mean().item()}


@functools.lru_cache(maxsize=8)
def _tokens(path: str, limit: int) -> tuple[Tensor, Tensor]:
    data = torch.frombuffer(bytearray(text.load(path, limit)), dtype=torch.uint8)
    cut = len(data) * 9 // 10
    return data[:cut], data[cut:]
