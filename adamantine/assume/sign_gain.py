"""One-step gain along the signs of the gradient: what sign descent can do in these coordinates."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine import tree
from adamantine.assume.one_step_gain import gain_of
from adamantine.point import Point


@dataclass(frozen=True)
class SignGain:
    """`|g|_1^2 / (2 s' H s)` for `s = sign g`: the largest decrease of the quadratic model along the signs of the
    gradient.

    A candidate of this package's: it needs no optimizer, joins gradient density and curvature along the signs, and is a
    property of the basis. Infinite where `s' H s` is not positive. One Hessian-vector product.
    """

    statement: ClassVar[str] = "f(w) - min_t f(w - t sign g) <= |g|_1^2 / (2 s' H s) up to third order"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:2002.08056"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "In a random basis: (2 / pi) d |g|^2 / (2 tr H), about."
    refuted: ClassVar[str] = "Bases with a larger gain do not train faster under sign descent and Adam."
    means: ClassVar[str] = "The larger, the better sign descent and Adam do in these coordinates."
    cost: ClassVar[dict[str, int]] = {"hvp": 1, "grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """`sign_gain`."""
        s = {k: x.sign() for k, x in p.grad.items()}
        return {"sign_gain": gain_of(float(tree.dot(p.grad, s)), float(tree.dot(s, p.hvp(s))))}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        g = tree.flat(p.grad)
        return {"sign_gain": gain_of(float(g.abs().sum()), float(g.sign() @ h @ g.sign()))}
