"""SlimAdam: second moments shared along the axis that varies least (Kalra et al., arXiv:2503.01843)."""

from adamantine.optim.adam import adamw
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Shape
from adamantine.optim.unfused import Unfused
from adamantine.part import Part
from adamantine.role import Is
from adamantine.route import Route

OVER_INPUTS = ("query", "key", "embedding", "position", "patch", "head")
OVER_OUTPUTS = ("value", "output", "gate", "up", "down")


def slim_adam(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
    schedule: Schedule = Constant(),
) -> Part:
    """`Unfused(Route(Is, AdamW with Rms("row"), Route(Is, AdamW with Rms("column"), AdamW)))` (arXiv:2503.01843).

    Queries, keys, embeddings, positions, patches and head share a second moment over their inputs; values, attention
    and MLP outputs, gates and MLP inputs over their outputs; all else keeps every one. This is the static table of the
    authors' code; the paper's method proper measures signal-to-noise ratios in a run of Adam and then chooses.
    """
    shapes: tuple[Shape, ...] = ("row", "column", "full")
    row, column, full = (adamw(lr, beta1, beta2, eps, decay, schedule, shape) for shape in shapes)
    return Unfused(Route(Is(*OVER_INPUTS), row, Route(Is(*OVER_OUTPUTS), column, full)))
