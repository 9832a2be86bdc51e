"""GaLore: Adam in the leading singular subspace of the gradient (Zhao et al., arXiv:2403.03507)."""

from adamantine.optim.decay import Decay
from adamantine.optim.low_rank import LowRank
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.optim.times import Times
from adamantine.optim.unfused import Unfused
from adamantine.part import Chain
from adamantine.role import HIDDEN, Is
from adamantine.route import Route


def galore(
    lr: float,
    rank: int = 128,
    every: int = 200,
    scale: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Unfused(Route(Is(*HIDDEN), LowRank(Ema >> Rms) >> Times(scale), Ema >> Rms)) >> Decay >> Lr`.

    The authors train with `scale=0.25` and a rate of 0.01. The first projection is that of the first gradient. `eps`
    is Adam's, added to the corrected root, as in the paper; the authors' code adds it before the correction. It also
    leaves the signs of a new projection to the library, which turns the averages at random.
    """
    adam = Ema(beta1) >> Rms(beta2, eps)
    routed = Unfused(Route(Is(*HIDDEN), LowRank(rank, adam, every) >> Times(scale), adam))
    return routed >> Decay(decay) >> Lr(lr, schedule)
