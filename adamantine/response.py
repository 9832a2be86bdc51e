"""How an optimizer answers a small change of the gradient while its state stands still: what decides its stability.

On a quadratic with the Hessian `H`, an optimizer whose update is `S` times a linear filter of past gradients, with `S`
symmetric and positive, loses stability where the largest eigenvalue of `S^(1/2) H S^(1/2)` reaches `2 / F(-1)`, with
`F(-1)` the filter's gain on a gradient that changes its sign at every step. Gradient descent: `F(-1) = 1`. An
exponential average: `(1 - beta) / (1 + beta)`, hence Adam's `2 (1 + beta) / (1 - beta)`. Heavy-ball: `1 / (1 + beta)`
(Cohen et al., arXiv:2103.00065, arXiv:2207.14484).
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from adamantine.tree import Params


class Basis(Protocol):
    """An orthogonal change of coordinates."""

    def forth(self, a: Params) -> Params:
        """Into the basis."""
        ...

    def back(self, a: Params) -> Params:
        """Out of it; the inverse of `forth`."""
        ...


@dataclass(frozen=True)
class Response:
    """`update = back(scale * forth(filtered gradient))`.

    `scale` has one positive number a coordinate (or fewer, that broadcast) for every tensor, in the coordinates of
    `basis` (None: as they are), rates included; `flip` the filter's gain `F(-1)` for every tensor; `pull` what is added
    of the weight itself, as decay does, for every tensor, rates included.
    """

    scale: dict[str, Tensor | float]
    flip: dict[str, float]
    pull: dict[str, float]
    basis: Basis | None = None

    def then(self, after: "Response") -> "Response | None":
        """The answer passed on to `after`; None where the two scales do not commute."""
        if self.basis is not None and after.basis is not None:
            return None
        sides = ((self, after), (after, self))
        if any(a.basis is not None and any(_varies(x) for x in b.scale.values()) for a, b in sides):
            return None
        if any(self.pull[k] and _varies(x) for k, x in after.scale.items()):
            return None
        return replace(
            self,
            scale={k: x * after.scale[k] for k, x in self.scale.items()},
            flip={k: x * after.flip[k] for k, x in self.flip.items()},
            pull={k: float(x * after.scale[k]) + after.pull[k] if x else after.pull[k] for k, x in self.pull.items()},
            basis=self.basis or after.basis,
        )


def response(w: Params, scale: Any = 1.0, flip: float = 1.0, pull: float = 0.0, basis: Basis | None = None) -> Response:
    """The same filter and pull for every tensor of `w`; `scale` is a number for all, or one entry a tensor."""
    scales = scale if isinstance(scale, dict) else dict.fromkeys(w, scale)
    return Response(scales, dict.fromkeys(w, flip), dict.fromkeys(w, pull), basis)


def _varies(x: Tensor | float) -> bool:
    return isinstance(x, Tensor) and x.numel() > 1
