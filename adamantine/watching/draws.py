"""Batches drawn independently of those that are trained on, from the data that the user gives."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from adamantine.watching.randomness import preserved, seed_all

Draws = Callable[[torch.Generator], Any]
FEW = 1 << 20  # examples, among which none is drawn twice for a batch


def draws(data: Any) -> Draws:
    """A function from a generator to a batch: of a DataLoader, of a sequence or iterable of batches, or that function.

    A DataLoader is never iterated where its dataset can be indexed: examples are drawn at random, as many as it has in
    a batch, so that neither its generator nor its workers notice. TypeError for what gives no batches.
    """
    if isinstance(data, DataLoader):
        return _streamed(data) if isinstance(data.dataset, IterableDataset) else _indexed(data)
    if callable(data) and not isinstance(data, Iterable):
        return data
    if isinstance(data, Sequence) and not isinstance(data, str) and len(data):
        return lambda rng: data[int(torch.randint(len(data), (), generator=rng))]
    if isinstance(data, Iterable) and not isinstance(data, (str, Iterator, Sequence)):
        return _streamed(data)
    raise TypeError(
        f"watch: data is {type(data).__name__}, but must be a DataLoader, a list of batches or a function from a "
        "torch.Generator to a batch; what can be iterated only once would be used up."
    )


def _indexed(loader: DataLoader) -> Draws:
    dataset: Any = loader.dataset
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1
    weights, among = None, None
    if isinstance(sampler, WeightedRandomSampler):
        weights = torch.as_tensor(sampler.weights, dtype=torch.float64)
    elif isinstance(sampler, SubsetRandomSampler):
        among = torch.as_tensor(list(sampler.indices))
    elif not isinstance(sampler, (RandomSampler, SequentialSampler, DistributedSampler, Subset)):
        raise TypeError(
            f"watch: data has a {type(sampler).__name__}, whose draws cannot be repeated without moving it on; give a "
            "function from a torch.Generator to a batch."
        )

    def draw(rng: torch.Generator) -> Any:
        if weights is not None:
            chosen = torch.multinomial(weights, size, replacement=True, generator=rng)
        else:
            n = len(dataset) if among is None else len(among)
            chosen = torch.randperm(n, generator=rng)[:size] if n < FEW else torch.randint(n, (size,), generator=rng)
            chosen = chosen if among is None else among[chosen]
        return _seeded(rng, dataset, lambda: loader.collate_fn([dataset[i] for i in chosen.tolist()]))

    return draw


def _streamed(data: Iterable[Any]) -> Draws:
    """Batch after batch of an iteration of its own, begun anew at its end."""
    running: list[Iterator[Any]] = []

    def following() -> Any:
        for _ in range(2):
            if not running:
                running.append(iter(data))
            try:
                return next(running[0])
            except StopIteration:
                running.clear()
        raise ValueError("watch: data has no batches.")

    def draw(rng: torch.Generator) -> Any:
        return _seeded(rng, data, following)

    return draw


def _seeded(rng: torch.Generator, data: Any, give: Callable[[], Any]) -> Any:
    """What `give()` gives with all global randomness from `rng`: augmentations draw there, or from the data's own."""
    with preserved(beside=data):
        seed_all(int(torch.randint(2**62, (), generator=rng)))
        return give()
