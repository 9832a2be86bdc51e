"""Cautious optimizers (Liang et al., arXiv:2411.16085): no step where momentum and gradient disagree in sign."""

from dataclasses import dataclass

from torch import Tensor

from adamantine.kernel import Code, Fused, Mean
from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.optim.decay import Decay
from adamantine.optim.lion import Lion
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.schedule import Constant, Schedule
from adamantine.optim.second_moment import Rms
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.symmetry import GROUPS, holds, symmetry_of
from adamantine.tree import Params


@dataclass(frozen=True)
class Cautious(Part):
    """What `moment` hands on, zero where its sign is not the raw gradient's, the rest divided by its share.

    The share is the fraction of coordinates of the tensor whose product with the gradient is above zero, or
    `least` if that is more, so that the mean size of a step is about kept. It makes a difference after a part
    that can change signs, as an average does, and not after one that only scales.
    """

    moment: Part = Ema()
    least: float = 1e-3

    def __post_init__(self) -> None:
        limits.part(self, moment=self.moment)
        limits.positive(self, least=self.least)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's within signed permutations of each tensor."""
        return symmetry_of(holds(self.moment.symmetry) & GROUPS["layer signed permutation"])

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.moment.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part is."""
        return self.moment.local

    def init(self, w: Params) -> State:
        """The inner part's."""
        return self.moment.init(w)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner update, masked and enlarged."""
        u, s = self.moment.update(u, s, p)
        return {k: self._masked(x, p.grad[k]) for k, x in u.items()}, s

    def _masked(self, u: Tensor, g: Tensor) -> Tensor:
        agree = (u.sign() * g.sign() > 0).to(u.dtype)  # the product of the numbers themselves could underflow
        return u * (agree / agree.mean().clamp_min(self.least))

    def fused(self, s: State, p: Point) -> Fused | None:
        """As `update`, after an inner part that looks at single coordinates."""
        inner = self.moment.fused(s, p)
        if inner is None or inner.code.means:
            return None
        body = f"{{ {inner.code.body} }}"  # its names are its own
        agree = "(((u > 0) & (g > 0)) | ((u < 0) & (g < 0)))"
        share = Mean("tensor", "$share = 1 / (mean > $least ? mean : $least);", f"{body} x = {agree};", "share")
        code = Code(
            f"{body} u = {agree} ? u * $share : 0;",
            inner.code.arrays,
            (*inner.code.numbers, "least"),
            (share,),
        )
        return Fused(code, inner.arrays, (*inner.numbers, self.least), inner.state)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return self.moment.read(w, s)

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews."""
        return self.moment.renew(s, p)

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.moment.units

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The inner part's."""
        return self.moment.moments(s, w)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """For the inner part."""
        return self.moment.adopt(s, live, w)

    def state_bytes(self, w: Params) -> int:
        """The inner part's."""
        return self.moment.state_bytes(w)


def cautious_adamw(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Cautious(Ema) >> Rms >> Decay >> Lr` (arXiv:2411.16085, algorithm 2).

    The step is enlarged by one over the share of the mask, as in the authors' code; the paper has one coordinate
    more in the denominator.
    """
    return Cautious(Ema(beta1)) >> Rms(beta2, eps) >> Decay(decay) >> Lr(lr, schedule)


def cautious_lion(
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.99,
    decay: float = 0.0,
    schedule: Schedule = Constant(),
) -> Chain:
    """`Cautious(Lion) >> Decay >> Lr` (arXiv:2411.16085, algorithm 3), scaled as in `cautious_adamw`."""
    return Cautious(Lion(beta1, beta2)) >> Decay(decay) >> Lr(lr, schedule)
