"""A second moment that no longer changes: what Adam has learnt by now, kept as a fixed scale for every coordinate.

Compressed communication works so after its warm-up (1-bit Adam, arXiv:2102.02888): the second moment settles early, and
a fixed scale makes the rest of training a momentum method.
"""

from dataclasses import dataclass
from typing import ClassVar, get_args

from adamantine.kernel import Code, Fused
from adamantine.live import SECOND, Live, Moment
from adamantine.optim import limits
from adamantine.optim.second_moment import SYMMETRY, TINY, Shape, block_bytes, block_means, block_of, root, spread
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response, response
from adamantine.tree import Params


@dataclass(frozen=True)
class FrozenRms(Part):
    """Divide `u` by `sqrt(v) + eps` with the `v` taken over from another part and never changed.

    To be the second half of an `Until`: `Until(0.2, Ema() >> Rms(), Ema() >> FrozenRms())`. The unbiased value
    `v / (1 - beta^t)` is what is frozen, so that the correction for the start does not run on. ValueError at the first
    step where no second moment was there to be taken over.
    """

    eps: float = 1e-8
    shape: Shape = "full"
    inherits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        limits.nonnegative(self, eps=self.eps)
        limits.choice(self, get_args(Shape), shape=self.shape)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As for `Rms`."""
        return SYMMETRY[self.shape]

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Unless one value is shared by all tensors."""
        return self.shape != "all"

    @property
    def units(self) -> tuple[str, ...]:
        """As for `Rms`."""
        return (SECOND,)

    def init(self, w: Params) -> State:
        """Nothing yet: `t = 0` steps averaged over, and no `v`."""
        return 0, {}

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`u / (sqrt(v) + eps)`."""
        lacking = next((k for k in u if block_of(k, self.shape) not in s[1]), None)
        if lacking is not None:
            raise ValueError(
                f"FrozenRms: there is no second moment to freeze for {lacking!r}; let a part with one run first, as in "
                "Until(0.2, Ema() >> Rms(), Ema() >> FrozenRms())."
            )
        under = root(s[1], self.eps)
        return {k: x / under[block_of(k, self.shape)] for k, x in u.items()}, s

    def response(self, s: State, p: Point) -> Response:
        """One over the root."""
        under = root(s[1], self.eps)
        return response(p.w, {k: 1 / under[block_of(k, self.shape)] for k in p.w})

    def fused(self, s: State, p: Point) -> Fused | None:
        """As `update`, but for a value shared by all tensors and before there is one."""
        if self.shape == "all" or not s[1]:
            return None
        code = Code("u /= sqrt($v) + $eps;", (("v", self.shape),), ("eps",))
        return Fused(code, (s[1],), (self.eps or TINY,), s)

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """`v`, with the steps it was averaged over, so that it can be set going again."""
        return (Moment(SECOND, spread(s[1], w, self.shape), s[0]),) if s[1] and w else ()

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """The unbiased second moment, or its mean over each block."""
        m = live.claim(SECOND, w)
        return (m.t, {k: x.clone() for k, x in block_means(m.value, self.shape).items()}) if m else s

    def state_bytes(self, w: Params) -> int:
        """One value a block."""
        return block_bytes(w, self.shape)
