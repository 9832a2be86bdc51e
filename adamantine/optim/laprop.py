"""LaProp (Ziyin et al., arXiv:2002.04839): Adam that scales each gradient first and averages afterwards."""

from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.part import Chain


def laprop(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-15,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Rms >> Ema >> Decay >> Lr` (arXiv:2002.04839, algorithm 1), with decoupled decay.

    The authors' code averages the gradients times the rate, the paper, followed here, the gradients; for a constant
    rate the two agree up to the correction of bias in the first steps.
    """
    return Rms(beta2, eps) >> Ema(beta1) >> Decay(decay) >> Lr(lr, schedule)
