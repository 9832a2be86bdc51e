"""scikit-learn's handwritten digits: 1,797 images of 8 by 8 (Alpaydin & Kaynak 1998)."""

import functools

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from adamantine.point import stream


@functools.lru_cache(maxsize=1)
def split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`(train x, train y, test x, test y)`: images `[N, 8, 8]` in [-1, 1], always the same fifth held out."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 8, 8) / 8 - 1
    y = torch.tensor(labels, dtype=torch.int64)
    test = torch.zeros(len(y), dtype=torch.bool)
    for label in range(10):
        members = torch.nonzero(y == label).flatten()
        order = torch.randperm(len(members), generator=stream(label, "digits split"))
        test[members[order[: len(members) // 5]]] = True
    return x[~test], y[~test], x[test], y[test]
