"""Adam (arXiv:1412.6980), AdamW (arXiv:1711.05101), and Adam with fewer second moments.

Adam-mini (arXiv:2406.16793) in its essence, one second moment a row; one a column; one a tensor (Adalayer,
arXiv:2407.07972); one in all (AdaSGD, arXiv:2006.16541).
"""

from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms, Shape
from adamantine.part import Chain


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
) -> Chain:
    """AdamW with one second moment a row, that is an output neuron (arXiv:2406.16793)."""
    return adamw(lr, beta1, beta2, eps, decay, schedule, "row")


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
) -> Chain:
    """AdamW with one second moment a tensor (arXiv:2407.07972)."""
    return adamw(lr, beta1, beta2, eps, decay, schedule, "tensor")


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
