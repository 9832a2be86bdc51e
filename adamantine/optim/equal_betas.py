"""AdamW with one coefficient for both moments (Orvieto & Gower, arXiv:2505.21829)."""

from adamantine.optim.adam import adamw
from adamantine.optim.schedule import Constant, Schedule
from adamantine.part import Chain


def adamw_equal_betas(
    lr: float,
    beta: float = 0.95,
    eps: float = 1e-8,
    decay: float = 0.01,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Ema >> Rms >> Decay >> Lr` with the same `beta` twice (arXiv:2505.21829).

    The second moment then is the square of the first plus the variance around it under the same weights, so that the
    update is `sign(m) / sqrt(1 + variance / m^2)`.
    """
    return adamw(lr, beta, beta, eps, decay, schedule)
