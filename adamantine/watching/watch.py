"""`adamantine.watch`: probes on a training loop that exists already, which goes on as if nobody looked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from adamantine.watching import presets
from adamantine.watching.watcher import Watch


def watch(
    model: nn.Module,
    optimizer: Any,
    loss: Any,
    data: Any = None,
    probes: Sequence[Any] | Mapping[Any, int] = presets.DEFAULT,
    every: Any = 16,
    budget: float | None = None,
    store: str | Path = "adamantine-store",
    name: str | None = None,
    seed: int = 0,
    to: Sequence[Any] = (),
) -> Watch:
    """Measure `probes` while `optimizer` trains `model`; call `step(batch)` at the end of every iteration.

        watch = adamantine.watch(model, optimizer, nn.CrossEntropyLoss())
        for batch in loader:
            ...                    # forward, backward, optimizer.step(), as ever
            watch.step(batch)
        watch.close()

    `loss` is a function `(model, batch) -> [B]`, one number an example whose mean is trained (or that mean, without
    what is asked of single examples); a criterion for batches `(inputs, target)`; or None for `model(**batch).loss`.
    Mixed precision is part of the loss: put `autocast` inside, or leave it out to measure in full. `data` (a
    DataLoader, a list of batches, or a function from a generator to a batch) gives the batches that some probes want
    besides the one in training.

    Probes are measured every `every` steps ({probe: N} for some of them; probes given as {probe: n} every n-th of those
    times), or, with `budget=0.1`, as often as a tenth of the time allows. Results lie in the folder `store`, under
    `name`, and go to the receivers `to` (SummaryWriter, run of Weights & Biases). Of several processes (DDP) the first
    measures, on its own batch.

    Weights, optimizer, buffers, gradients and random numbers are those of a run that is not watched. TypeError or
    ValueError, in a sentence, for what cannot be watched; what goes wrong later is told in the log, in `unavailable`
    and in `notes`.
    """
    return Watch(model, optimizer, loss, data, probes, every, budget, store, name, seed, to)
