"""Several batches as one: a loss over more data than fits in memory at once, or the micro-batches of one step."""

from typing import Any, NamedTuple


class Pieces(NamedTuple):
    """A batch in pieces: its losses are the losses of all pieces, one after another, so that every example counts once.

    Pieces may differ in size: a piece weighs as many examples as it has, not one.
    """

    batches: tuple[Any, ...]


def pieces(batch: Any) -> tuple[Any, ...]:
    """The pieces of a batch; a batch that is not in pieces is one."""
    return batch.batches if isinstance(batch, Pieces) else (batch,)
