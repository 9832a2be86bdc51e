"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; at scale: Liu et al., arXiv:2502.16982)."""

from adamantine.optim.adam import adamw
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.polar import Method, Orthogonalize, Precision, Shaping
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.unfused import Unfused
from adamantine.part import Part
from adamantine.role import HIDDEN, Is
from adamantine.route import Route


def muon(
    lr: float,
    momentum: float = 0.95,
    nesterov: bool = True,
    decay: float = 0.0,
    shaping: Shaping = "original",
    method: Method = "newton-schulz",
    iterations: int = 5,
    precision: Precision = "own",
    adam_ratio: float = 0.015,
    beta1: float = 0.9,
    beta2: float = 0.95,
    eps: float = 1e-10,
    schedule: Schedule = Constant(),
) -> Part:
    """`Unfused(Route(Is(*HIDDEN), Ema >> Orthogonalize >> Decay >> Lr, adamw))`: each fused matrix by itself.

    AdamW steps all other tensors at `adam_ratio * lr`: 0.015 is the authors' 3e-4 beside 0.02. With
    `shaping="match_rms_adamw"` (arXiv:2502.16982) both rates are one: give `adam_ratio=1` and `decay=0.1`. The authors'
    code iterates in bfloat16, which is to be asked for here (`precision="bfloat16"`), and shapes a convolution by the
    sides of its kernel; here it is `[out, in * kernel]`, as it is orthogonalized.
    """
    hidden = Ema(momentum, debias=False, nesterov=nesterov) >> Orthogonalize(method, iterations, shaping, precision)
    rest = adamw(adam_ratio * lr, beta1, beta2, eps, decay, schedule)
    return Unfused(Route(Is(*HIDDEN), hidden >> Decay(decay) >> Lr(lr, schedule), rest))
