"""scikit-learn's handwritten digits: 1,797 images of 8 by 8 (Alpaydin & Kaynak 1998)."""

import functools
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from adamantine.point import stream


@dataclass(frozen=True)
class Digits:
    """Grey images `[1, 8, 8]` in [-1, 1] of ten classes; a fifth of each class is held out."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return 1, 8, 8

    @property
    def classes(self) -> int:
        """Ten."""
        return 10

    def draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """`n` training images `[n, 1, 8, 8]`, drawn with replacement, and their classes `[n]`."""
        x, y, _, _ = split()
        i = torch.randint(len(x), (n,), generator=rng)
        return x[i], y[i]

    def held_out(self) -> tuple[Tensor, Tensor]:
        """The images never trained on, and their classes."""
        return split()[2:]


@functools.lru_cache(maxsize=1)
def split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`(train x, train y, test x, test y)`: images `[N, 1, 8, 8]` in [-1, 1], always the same fifth held out."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    y = torch.tensor(labels, dtype=torch.int64)
    test = torch.zeros(len(y), dtype=torch.bool)
    for label in range(10):
        members = torch.nonzero(y == label).flatten()
        order = torch.randperm(len(members), generator=stream(label, "digits split"))
        test[members[order[: len(members) // 5]]] = True
    return x[~test], y[~test], x[test], y[test]
