"""How an optimizer answers a small change of the gradient while its state stands still: what decides its stability.

On a quadratic with the Hessian `H`, an optimizer whose update is `S` times a linear filter of past gradients, with `S`
symmetric and positive, loses stability where the largest eigenvalue of `S^(1/2) H S^(1/2)` reaches `2 / F(-1)`, with
`F(-1)` the filter's gain on a gradient that changes its sign at every step. Gradient descent: `F(-1) = 1`. An
exponential average: `(1 - beta) / (1 + beta)`, hence Adam's `2 (1 + beta) / (1 - beta)`. Heavy-ball: `1 / (1 + beta)`
(Cohen et al., arXiv:2103.00065, arXiv:2207.14484). What is added of the weights, as decay does, takes from the 2.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from adamantine.tree import Params

Number = Tensor | float


class Basis(Protocol):
    """An orthogonal change of coordinates that keeps names and shapes."""

    def forth(self, a: Params) -> Params:
        """Into the basis."""
        ...

    def back(self, a: Params) -> Params:
        """Out of it; the inverse of `forth`."""
        ...


@dataclass(frozen=True)
class Nested:
    """First into `outer`, then into `inner`."""

    outer: Basis
    inner: Basis

    def forth(self, a: Params) -> Params:
        """Into both."""
        return self.inner.forth(self.outer.forth(a))

    def back(self, a: Params) -> Params:
        """Out of both."""
        return self.outer.back(self.inner.back(a))


@dataclass(frozen=True)
class Beside:
    """Each of `parts`, a basis with the names of its tensors, by itself; tensors that none names stay as they are."""

    parts: tuple[tuple[frozenset[str], Basis], ...]

    @property
    def normalizes(self) -> frozenset[str]:
        """What each does."""
        return frozenset.intersection(*(getattr(b, "normalizes", frozenset()) for _, b in self.parts))

    def forth(self, a: Params) -> Params:
        """Into each."""
        turned = [b.forth({k: a[k] for k in a if k in names}) for names, b in self.parts]
        return {**a, **{k: x for part in turned for k, x in part.items()}}

    def back(self, a: Params) -> Params:
        """Out of each."""
        turned = [b.back({k: a[k] for k in a if k in names}) for names, b in self.parts]
        return {**a, **{k: x for part in turned for k, x in part.items()}}


@dataclass(frozen=True)
class Response:
    """`update = back(scale * forth(filtered gradient)) + pull * w`.

    By tensor, each a number or an array that broadcasts against it in the coordinates of `basis` (None: as they are):
    `scale`, positive, rates included; `flip`, the filter's gain `F(-1)`; `pull`, what is added of the weights, rates
    and the gain of later filters included. `out` is the direction that the part handed on in this step, where that is
    not `scale` times what came in.
    """

    scale: dict[str, Number]
    flip: dict[str, Number]
    pull: dict[str, Number]
    basis: Basis | None = None
    out: Params | None = None

    def handed_on(self, u: Params, w: Params) -> Params:
        """The direction after the part, given the direction `u` before it."""
        if self.out is not None:
            return self.out
        x = {k: y * self.scale[k] for k, y in self.turned(u).items()}
        x = x if self.basis is None else self.basis.back(x)
        if all(isinstance(y, float) and not y for y in self.pull.values()):
            return x
        held = {k: y * self.pull[k] for k, y in self.turned({k: w[k] for k in u}).items()}
        held = held if self.basis is None else self.basis.back(held)
        return {k: y + held[k] for k, y in x.items()}

    def turned(self, a: Params) -> Params:
        """`a` in the coordinates of the basis."""
        return a if self.basis is None else self.basis.forth(a)

    def then(self, after: "Response") -> "Response | None":
        """The answer passed on to `after`; None where the two scales do not commute."""
        if self.basis is not None and after.basis is not None:
            return None
        if any(a.basis is not None and not b.commutes(a.basis) for a, b in ((self, after), (after, self))):
            return None
        return Response(
            {k: x * after.scale[k] for k, x in self.scale.items()},
            {k: x * after.flip[k] for k, x in self.flip.items()},
            {k: x * after.scale[k] * after.flip[k] + after.pull[k] for k, x in self.pull.items()},
            self.basis or after.basis,
        )

    def commutes(self, basis: Basis) -> bool:
        """Whether it is one number for all that `basis` mixes: a tensor at a time, or all of them."""
        for x in (self.scale, self.flip, self.pull):
            if any(isinstance(y, Tensor) and y.numel() > 1 for y in x.values()):
                return False
            apart = "layer rotation" in getattr(basis, "normalizes", ())
            if not apart and len({float(y) for y in x.values()}) > 1:
                return False
        return True

    def within(self, basis: Basis) -> "Response":
        """The same answer, told from outside of the `basis` in which it was told."""
        out = None if self.out is None else basis.back(self.out)
        return replace(self, basis=basis if self.basis is None else Nested(basis, self.basis), out=out)


def response(
    w: Params,
    scale: Any = 1.0,
    flip: float = 1.0,
    pull: Any = 0.0,
    basis: Basis | None = None,
    out: Params | None = None,
) -> Response:
    """The same filter for every tensor of `w`; `scale` and `pull` are a number for all, or one entry a tensor."""
    scales, pulls = ({k: x[k] if isinstance(x, dict) else x for k in w} for x in (scale, pull))
    return Response(scales, dict.fromkeys(w, flip), pulls, basis, out and {k: out[k] for k in w})


def joined(sides: list[Response], u: Params, w: Params) -> Response:
    """One answer from those of different tensors, at the direction `u`."""

    def merged(each: Iterable[dict[str, Any]]) -> dict[str, Any]:
        found = {k: x for d in each for k, x in d.items()}
        return {k: found[k] for k in w}

    bases = tuple((frozenset(a.scale), a.basis) for a in sides if a.basis is not None)
    return Response(
        merged(a.scale for a in sides),
        merged(a.flip for a in sides),
        merged(a.pull for a in sides),
        Beside(bases) if bases else None,
        merged(a.handed_on({k: u[k] for k in a.scale}, w) for a in sides),
    )


def averaged(beta: float) -> float:
    """`F(-1) = (1 - beta) / (1 + beta)` of the average `m <- beta m + (1 - beta) u`."""
    return (1 - beta) / (1 + beta)
