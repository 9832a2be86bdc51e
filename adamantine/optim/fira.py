"""Fira: GaLore that keeps what it would drop, scaled as Adam scaled the rest (Chen et al., arXiv:2410.01623)."""

from adamantine.optim.debias import Debias
from adamantine.optim.decay import Decay
from adamantine.optim.low_rank import LowRank
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.optim.unfused import Unfused
from adamantine.part import Chain
from adamantine.role import HIDDEN, Is
from adamantine.route import Route


def fira(
    lr: float,
    rank: int = 128,
    every: int = 200,
    growth: float = 1.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-6,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Unfused(Route(Is(*HIDDEN), LowRank(Ema >> Rms, "scaled") >> Debias, Ema >> Rms)) >> Decay >> Lr`.

    As in the authors' code the limiter sees the rest before Adam's bias correction. Their factor `alpha` is 1 here, the
    paper's rule: in the code it multiplies also the part of the gradient that is subtracted to find the rest, so that
    for other values the rest is not what lies outside the projection.
    """
    low = Ema(beta1, debias=False) >> Rms(beta2, eps, debias=False)
    hidden = LowRank(rank, low, every, "scaled", growth) >> Debias(beta1, beta2)
    routed = Unfused(Route(Is(*HIDDEN), hidden, Ema(beta1) >> Rms(beta2, eps)))
    return routed >> Decay(decay) >> Lr(lr, schedule)
