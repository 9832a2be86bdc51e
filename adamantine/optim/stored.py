"""State in few bits between steps: decoded, used and encoded again by a part that knows nothing of it."""

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from adamantine.kernel import Fused, Packed
from adamantine.live import Live, Moment
from adamantine.optim import limits
from adamantine.optim.floating import Bf16
from adamantine.optim.momentum import Ema
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.response import Response
from adamantine.tree import Params, leaves

CODED = "coded"


@runtime_checkable
class Codec(Protocol):
    """A way to keep a tensor; `decode(encode(x), x)` is near `x`, within a bound that its docstring names."""

    @property
    def least(self) -> int:
        """The smallest number of coordinates worth encoding."""
        ...

    def encode(self, x: Tensor) -> State:
        """What is kept of `x`."""
        ...

    def decode(self, s: State, like: Tensor) -> Tensor:
        """A tensor of the shape and type of `like`, where `s` lies."""
        ...

    def size_bytes(self, like: Tensor) -> int:
        """Bytes of what `encode` gives for a tensor of this shape."""
        ...

    @property
    def packed(self) -> Packed | str | None:
        """The same as C text, where what is kept is one tensor of a shape that a kernel knows, or bytes and scales."""
        ...


@dataclass(frozen=True)
class Stored(Part):
    """`inner` with every floating tensor of its state of at least `codec.least` numbers kept by `codec`.

    An encoded tensor stands in the state as `("coded", type, shape, what is kept)`.
    """

    inner: Part = Ema()
    codec: Any = Bf16(least=4096)

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        if not isinstance(self.codec, Codec):
            raise TypeError(
                f"Stored: codec is a {type(self.codec).__name__}, but must have least, encode, decode and size_bytes; "
                "give Int8(), say."
            )

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's, up to the rounding of the codec."""
        return self.inner.symmetry

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the inner part is: no block reaches across tensors."""
        return self.inner.local

    @property
    def units(self) -> tuple[str, ...]:
        """The inner part's."""
        return self.inner.units

    def encoded(self, s: State) -> State:
        """The inner state as it is kept."""
        if isinstance(s, dict):
            return {k: self.encoded(x) for k, x in s.items()}
        if isinstance(s, tuple):
            return tuple(self.encoded(x) for x in s)
        if not self._codes(s):
            return s
        return CODED, str(s.dtype).removeprefix("torch."), tuple(s.shape), self.codec.encode(s)

    def decoded(self, s: State) -> State:
        """The inner state as the inner part knows it, near what was encoded."""
        if isinstance(s, dict):
            return {k: self.decoded(x) for k, x in s.items()}
        if not isinstance(s, tuple):
            return s
        if not s or not isinstance(s[0], str) or s[0] != CODED:
            return tuple(self.decoded(x) for x in s)
        like = torch.empty(s[2], dtype=getattr(torch, s[1]), device="meta")
        return self.codec.decode(s[3], like)

    def _codes(self, x: Any) -> bool:
        return isinstance(x, Tensor) and x.is_floating_point() and x.numel() >= self.codec.least

    def init(self, w: Params) -> State:
        """The inner part's, encoded."""
        return self.encoded(self.inner.init(w))

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner update, from the decoded state; the direction is that of the state before it is encoded again."""
        u, s = self.inner.update(u, self.decoded(s), p)
        return u, self.encoded(s)

    def response(self, s: State, p: Point) -> Response | None:
        """The inner part's."""
        return self.inner.response(self.decoded(s), p)

    def kind(self, x: Tensor) -> Any:
        """Whether its state is encoded."""
        return x.numel() >= self.codec.least, self.inner.kind(x)

    def fused(self, s: State, p: Point) -> Fused | None:
        """As `update`, where all state is encoded alike by a codec that has C text, or none is."""
        inner, packed = self.inner.fused(s, p), self.codec.packed
        if inner is None or inner.code.means or not inner.arrays:
            return None
        arrays: list[Params] = []
        names = []
        for (name, shape), array in zip(inner.code.arrays, inner.arrays, strict=True):
            coded = [isinstance(x, tuple) for x in array.values()]
            if not any(coded):
                arrays.append(array)
                names.append((name, shape))
            elif packed is None or not all(coded):
                return None
            elif isinstance(packed, str):
                arrays.append({k: x[3] for k, x in array.items()})
                names.append((name, packed))
            else:
                arrays += [{k: x[3][i] for k, x in array.items()} for i in (0, 1)]
                names.append((name, packed))
        return Fused(replace(inner.code, arrays=tuple(names)), tuple(arrays), inner.numbers, inner.state)

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return self.inner.read(w, self.decoded(s))

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews."""
        return self.encoded(self.inner.renew(self.decoded(s), p))

    def moments(self, s: State, w: Params) -> tuple[Moment, ...]:
        """The inner part's, as far as the bits tell."""
        return self.inner.moments(self.decoded(s), w)

    def adopt(self, s: State, live: Live, w: Params) -> State:
        """As the inner part, encoded."""
        return self.encoded(self.inner.adopt(self.decoded(s), live, w))

    def state_bytes(self, w: Params) -> int:
        """What the codec makes of each tensor in the inner part's first state."""
        shapes = self.inner.init({k: torch.empty_like(x, device="meta") for k, x in w.items()})
        return sum(
            self.codec.size_bytes(x) if self._codes(x) else x.numel() * x.element_size() for _, x in leaves(shapes)
        )
