"""AdamW with its moments in 8 bits (Dettmers et al., arXiv:2110.02861) or 4 (Li et al., arXiv:2309.01507)."""

from adamantine.optim.blockwise import Int4, Int8
from adamantine.optim.decay import Decay
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.optim.stored import Stored
from adamantine.part import Part


def adamw_8bit(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
    block: int = 256,
    least: int = 4096,
    schedule: Schedule = Constant(),
) -> Part:
    """`Stored(Ema, Int8) >> Stored(Rms, Int8) >> Decay >> Lr` (arXiv:2110.02861).

    The authors' code also keeps embeddings in 32 bits; here size alone decides, as in their algorithm.
    """
    first = Stored(Ema(beta1), Int8(True, block, least))
    second = Stored(Rms(beta2, eps), Int8(False, block, least))
    return first >> second >> Decay(decay) >> Lr(lr, schedule)


def adamw_4bit(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
    block: int = 128,
    least: int = 4096,
    schedule: Schedule = Constant(),
) -> Part:
    """`Stored(Ema, Int4) >> Stored(Rms, Int4) >> Decay >> Lr` (arXiv:2309.01507).

    Second moments have blocks, not the paper's scales by rows and columns, as in torchao.
    """
    first = Stored(Ema(beta1), Int4(True, block, least))
    second = Stored(Rms(beta2, eps), Int4(False, block, least))
    return first >> second >> Decay(decay) >> Lr(lr, schedule)
