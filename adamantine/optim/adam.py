"""Adam (arXiv:1412.6980), AdamW (arXiv:1711.05101), and Adam with fewer second moments.

Adam-mini (arXiv:2406.16793), one second moment a head or a row; one a column; one a tensor but for the head and the
normalizations (Adalayer, arXiv:2407.07972); one in all (AdaSGD, arXiv:2006.16541).
"""

from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms, Shape
from adamantine.optim.unfused import Unfused
from adamantine.part import Chain, Part
from adamantine.role import Is
from adamantine.route import Route

BY_ROW = ("query", "key", "value", "output", "gate", "up", "down", "matrix", "embedding", "head")


def adamw(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
    schedule: Schedule = Constant(),
    shape: Shape = "full",
) -> Chain:
    """`Ema >> Rms >> Decay >> Lr` (arXiv:1711.05101), with the second moment shared as `shape` says."""
    return Ema(beta1) >> Rms(beta2, eps, shape) >> Decay(decay) >> Lr(lr, schedule)


def adam(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Ema >> Rms >> Lr`: Adam without decay (arXiv:1412.6980)."""
    return Ema(beta1) >> Rms(beta2, eps) >> Lr(lr, schedule)


def adam_mini(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`Unfused(Route(Is, AdamW with Rms("row"), AdamW with Rms("tensor")), heads)` (arXiv:2406.16793).

    One second moment for each attention head of queries and keys, for each row (output neuron, token) of the other
    matrices, and for each tensor of what is left. Where the table gives no number of heads, queries and keys have one a
    row. The authors' code keeps all second moments of biases, and decays neither them nor normalizations; the paper's
    partition is followed.
    """
    by_row, by_tensor = (adamw(lr, beta1, beta2, eps, decay, schedule, shape) for shape in ("row", "tensor"))
    # A query seen as [heads, out / heads, in] has a head for a row.
    return Unfused(Route(Is(*BY_ROW), by_row, by_tensor), heads=("query", "key"))


def adam_column(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """AdamW with one second moment a column, that is an input neuron: the counterpart of arXiv:2406.16793."""
    return adamw(lr, beta1, beta2, eps, decay, schedule, "column")


def adalayer(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Part:
    """`Route(Is, AdamW, AdamW with Rms("tensor"))` (arXiv:2407.07972).

    Adam in the head and the normalizations, where the paper finds that it is needed, and one second moment a tensor in
    all else. Biases follow Adam with them: those of the head belong to it, and the paper's networks have no others.
    """
    full, by_tensor = (adamw(lr, beta1, beta2, eps, decay, schedule, shape) for shape in ("full", "tensor"))
    return Route(Is("head", "norm", "bias"), full, by_tensor)


def adasgd(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """AdamW with a single second moment: SGD with a rate that adapts to the gradient's norm (arXiv:2006.16541)."""
    return adamw(lr, beta1, beta2, eps, decay, schedule, "all")
