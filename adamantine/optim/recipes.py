"""Named optimizers: each a composition that prints as such."""

from adamantine.optim.basis import Eigenbasis
from adamantine.optim.decay import Decay
from adamantine.optim.lion import Lion
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema, Momentum
from adamantine.optim.nadam import NadamMomentum
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms, RmsProp
from adamantine.optim.sign import Sign
from adamantine.part import Part


def _finish(direction: Part | None, lr: float, decay: float, schedule: Schedule) -> Part:
    tail = Decay(decay) >> Lr(lr, schedule) if decay else Lr(lr, schedule)
    return tail if direction is None else direction >> tail


def sgd(
    lr: float = 0.1,
    momentum: float = 0.0,
    nesterov: bool = False,
    decay: float = 0.0,
    schedule: Schedule = Constant(),  # noqa: B008 (a frozen value)
) -> Part:
    """SGD with heavy-ball or Nesterov momentum, as in torch, with decoupled decay."""
    return _finish(Momentum(momentum, nesterov) if momentum else None, lr, decay, schedule)


def rmsprop(
    lr: float = 0.01, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0, centered: bool = False
) -> Part:
    """RMSprop as in torch; momentum comes after the division."""
    scaled = RmsProp(alpha, eps, centered)
    return _finish(scaled >> Momentum(momentum) if momentum else scaled, lr, 0.0, Constant())


def adamw(
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    schedule: Schedule = Constant(),  # noqa: B008
    shape: str = "full",
) -> Part:
    """Adam with decoupled decay (arXiv:1711.05101); `shape` shares the second moment by blocks."""
    return _finish(Ema(beta1) >> Rms(beta2, eps, shape), lr, decay, schedule)


def nadam(lr: float = 2e-3, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, decay: float = 0.0) -> Part:
    """NAdam as in torch, with decoupled decay."""
    return _finish(NadamMomentum(beta1) >> Rms(beta2, eps), lr, decay, Constant())


def signum(lr: float = 1e-3, beta: float = 0.9, decay: float = 0.0, schedule: Schedule = Constant()) -> Part:  # noqa: B008
    """Sign of the momentum (arXiv:1802.04434)."""
    return _finish(Ema(beta, debias=False) >> Sign(), lr, decay, schedule)


def lion(
    lr: float = 1e-4,
    beta1: float = 0.9,
    beta2: float = 0.99,
    decay: float = 0.0,
    schedule: Schedule = Constant(),  # noqa: B008
) -> Part:
    """Lion (arXiv:2302.06675)."""
    return _finish(Lion(beta1, beta2), lr, decay, schedule)


def adasgd(lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999) -> Part:
    """One second moment for all coordinates (arXiv:2006.16541)."""
    return adamw(lr, beta1, beta2, shape="all")


def adalayer(lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999) -> Part:
    """One second moment a tensor (arXiv:2407.07972)."""
    return adamw(lr, beta1, beta2, shape="tensor")


def adam_mini(lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999) -> Part:
    """One second moment an output neuron, the blocks of arXiv:2406.16793 apart from its attention heads."""
    return adamw(lr, beta1, beta2, shape="row")


def soap(lr: float = 3e-3, beta1: float = 0.95, beta2: float = 0.95, every: int = 10, decay: float = 0.0) -> Part:
    """Adam's second moment in Shampoo's eigenbasis (arXiv:2409.11321)."""
    return _finish(Ema(beta1) >> Eigenbasis(Rms(beta2), every=every), lr, decay, Constant())
