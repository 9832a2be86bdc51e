"""Stochastic gradient descent (Robbins & Monro 1951), with momentum, as `torch.optim.SGD` has it."""

from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Momentum
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Chain, Part


def sgd(
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Decay >> Momentum >> Lr`; the decay is the L2 penalty, added to the gradient before the momentum."""
    parts: list[Part] = []
    if decay:
        parts.append(Decay(decay))
    if momentum:
        parts.append(Momentum(momentum, nesterov))
    return Chain((*parts, Lr(lr, schedule)))
