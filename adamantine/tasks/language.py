"""Language modelling of real text (GPT-2, Radford et al. 2019), byte by byte or in byte pairs (arXiv:1508.07909)."""

import functools
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from adamantine.data import bpe, text
from adamantine.nets.decoder import Decoder
from adamantine.point import Draw
from adamantine.role import Tags
from adamantine.tree import Params


@dataclass(frozen=True)
class Language:
    """Next-token cross-entropy, in nats a token, of a decoder on `text`.

    `text` is "stdlib", a file, a folder or "hf:NAME[:split[:column]]" (`adamantine.data.text.load`), read up to
    `limit` bytes; the last tenth is held out. `tokens` is "byte", or the size of a byte-pair vocabulary learned
    from the training part. Batches are `batch` windows of the model's context, drawn with replacement;
    `held_out` windows at most are scored. Raises ValueError or TypeError where the fields do not fit together,
    and at `source`, `score` and `fingerprint` where the text cannot be read or is too short.
    """

    text: str = "stdlib"
    tokens: str | int = "byte"
    model: Decoder = field(default_factory=Decoder)
    batch: int = 16
    limit: int = 2_000_000
    held_out: int = 64

    def __post_init__(self) -> None:
        """Refuse fields that do not fit together."""
        if not isinstance(self.text, str):
            raise TypeError(f'Language: text is {self.text!r}; give "stdlib" or a path, as a string.')
        if not isinstance(self.model, Decoder):
            raise TypeError(f"Language: model is {self.model!r}; give a Decoder.")
        for name in ("batch", "limit", "held_out"):
            n = getattr(self, name)
            if not isinstance(n, int) or n < 1:
                raise ValueError(f"Language: {name} is {n!r}; it must be a whole number, at least 1.")
        if self.tokens != "byte" and (not isinstance(self.tokens, int) or not 256 <= self.tokens <= 32768):
            raise ValueError(
                f'Language: tokens {self.tokens!r} is neither "byte" nor a vocabulary size from 256 to 32768.'
            )
        if self.model.vocab < self._vocab():
            raise ValueError(
                f"Language: {self._vocab()} tokens do not fit the model's vocabulary of {self.model.vocab}; "
                f"give model=Decoder(vocab={self._vocab()}, ...)."
            )

    def _vocab(self) -> int:
        return self.tokens if isinstance(self.tokens, int) else 256

    def fingerprint(self) -> str:
        """SHA-256 of the text's bytes: the data are not determined by the fields."""
        return text.fingerprint(text.load(self.text, self.limit))

    def init(self, rng: torch.Generator) -> Params:
        """The decoder's own."""
        return self.model.init(rng)

    def tags(self) -> Tags:
        """The decoder's own."""
        return self.model.tags()

    def source(self, rng: torch.Generator) -> Draw:
        """Batches of `x`, `y` `[B, T]` (`y` is `x` one token later) and, with dropout, `seeds [B]`, all int64."""
        train, _ = self._data()
        last, reach = len(train) - self.model.context, torch.arange(self.model.context + 1)

        def draw(w: Params) -> dict[str, Tensor]:
            window = train[torch.randint(last, (self.batch, 1), generator=rng) + reach].long()
            batch = {"x": window[:, :-1], "y": window[:, 1:]}
            if self.model.dropout:
                batch["seeds"] = torch.randint(2**62, (self.batch,), generator=rng)
            return batch

        return draw

    def losses(self, w: Params, batch: dict[str, Tensor]) -> Tensor:
        """Mean cross-entropy of each sequence, `[B]`, nats a token."""
        return self.outputs_and_losses(w, batch)[1]

    def outputs_and_losses(self, w: Params, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits `[B, T, vocabulary]` and the losses."""
        logits, y = self.model(w, batch["x"], batch.get("seeds")), batch["y"]
        each = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        return logits, each.view(y.shape).mean(1)

    @torch.no_grad()
    def score(self, w: Params) -> dict[str, float]:
        """`held_out`: nats a token over fixed windows spread over the held-out text, without dropout."""
        _, data = self._data()
        context = self.model.context
        count = min(self.held_out, (len(data) - 1) // context)
        # In float32, positions beyond 2^24 would be rounded, the last one past the end.
        starts = torch.linspace(0, len(data) - context - 1, count, dtype=torch.float64).long()
        windows = data[starts[:, None] + torch.arange(context + 1)].long()
        device, total = next(iter(w.values())).device, 0.0
        for part in windows.split(self.batch):
            part = part.to(device)
            total += self.losses(w, {"x": part[:, :-1], "y": part[:, 1:]}).sum().item()
        return {"held_out": total / count}

    def _data(self) -> tuple[Tensor, Tensor]:
        """Training and held-out tokens, each longer than the context."""
        train, held = _tokens(self.text, self.limit, self.tokens)
        if min(len(train), len(held)) <= self.model.context:
            raise ValueError(
                f"Language: text {self.text!r} has {len(train)} tokens to train on and {len(held)} held out; a "
                f"context of {self.model.context} needs more of each: give more text or a shorter context."
            )
        return train, held


@functools.lru_cache(maxsize=8)
def _tokens(path: str, limit: int, tokens: str | int) -> tuple[Tensor, Tensor]:
    parts = text.split(text.load(path, limit))
    if tokens == "byte":
        train, held = (torch.tensor(bytearray(part), dtype=torch.uint8) for part in parts)
        return train, held
    pairs = bpe.train(parts[0], int(tokens))
    train, held = (torch.from_numpy(pairs.encode(part)) for part in parts)
    return train, held
