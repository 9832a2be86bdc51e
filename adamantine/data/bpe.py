"""Byte-pair encoding (Sennrich et al., arXiv:1508.07909) over raw bytes, as in GPT-2 but without its split into words.

The first 256 tokens are the bytes, so any bytes can be encoded, and pairs may join across spaces and newlines.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

SAMPLE = 500_000


@dataclass(frozen=True)
class Bpe:
    """Token `256 + i` is the pair `merges[i]` of earlier tokens."""

    merges: tuple[tuple[int, int], ...] = field(default=(), repr=True)

    def __post_init__(self) -> None:
        """Refuse a merge of a token that does not exist yet."""
        for i, pair in enumerate(self.merges):
            if len(pair) != 2 or not all(0 <= t < 256 + i for t in pair):
                raise ValueError(f"Bpe: merge {i} is {pair!r}; it must be a pair of tokens below {256 + i}.")

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return 256 + len(self.merges)

    def encode(self, data: bytes) -> np.ndarray:
        """The tokens of `data`, int32: merges applied in the order they were learned, each from left to right."""
        ids = np.frombuffer(data, np.uint8).astype(np.int32)
        for i, (a, b) in enumerate(self.merges):
            ids = _merged(ids, a, b, 256 + i)
        return ids

    def decode(self, tokens: Sequence[int] | np.ndarray) -> bytes:
        """The bytes that the tokens stand for. Raises ValueError for a token that is not in the vocabulary."""
        words = _words(self)
        out = []
        for t in np.asarray(tokens).tolist():
            if not 0 <= t < len(words):
                raise ValueError(f"Bpe: token {t} is not in a vocabulary of {len(words)}.")
            out.append(words[t])
        return b"".join(out)


@functools.lru_cache(maxsize=8)
def _words(bpe: Bpe) -> list[bytes]:
    words = [bytes([i]) for i in range(256)]
    for a, b in bpe.merges:
        words.append(words[a] + words[b])
    return words


@functools.lru_cache(maxsize=8)
def train(data: bytes, vocab: int, sample: int = SAMPLE) -> Bpe:
    """Learn up to `vocab - 256` merges from the first `sample` bytes: always the commonest pair, ties to the smaller.

    Stops early where no pair occurs twice. Raises ValueError where the vocabulary is below 256 or above 32768.
    """
    if not 256 <= vocab <= 32768:
        raise ValueError(f"bpe.train: a vocabulary of {vocab} is not between 256 (the bytes) and 32768.")
    ids = np.frombuffer(data[:sample], np.uint8).astype(np.int32)
    merges: list[tuple[int, int]] = []
    while len(merges) < vocab - 256 and len(ids) > 1:
        size = 256 + len(merges)
        pair, count = _commonest(ids, size)
        if count < 2:
            break
        merges.append(pair)
        ids = _merged(ids, *pair, size)
    return Bpe(tuple(merges))


def _commonest(ids: np.ndarray, size: int) -> tuple[tuple[int, int], int]:
    codes = ids[:-1].astype(np.int64) * size + ids[1:]
    if size * size <= 8 * len(codes):
        counts = np.bincount(codes)
        code = int(counts.argmax())
        return divmod(code, size), int(counts[code])
    # A table of all pairs would be far larger than the text.
    found, counts = np.unique(codes, return_counts=True)
    best = int(counts.argmax())
    return divmod(int(found[best]), size), int(counts[best])


def _merged(ids: np.ndarray, a: int, b: int, new: int) -> np.ndarray:
    at = np.flatnonzero((ids[:-1] == a) & (ids[1:] == b))
    if len(at) == 0:
        return ids
    if a == b:
        # In a run of one token the pairs overlap: take every second, from the left.
        starts = np.flatnonzero(np.diff(at, prepend=-2) > 1)
        runs = np.repeat(at[starts], np.diff(starts, append=len(at)))
        at = at[(at - runs) % 2 == 0]
    out = ids.copy()
    out[at] = new
    return np.delete(out, at + 1)
