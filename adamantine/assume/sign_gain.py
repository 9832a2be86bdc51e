"""One-step gain along the signs of the gradient: what sign descent can do in these coordinates."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.assume.one_step_gain import gain_of, squared
from adamantine.pieces import pieces
from adamantine.point import Point


@dataclass(frozen=True)
class SignGain:
    """`|g|_1^2 / (2 s' H s)` for `s = sign g`: the largest decrease of the quadratic model along the signs of the
    gradient.

    A candidate of this package's: it needs no optimizer, joins gradient density and curvature along the signs, and is a
    property of the basis. Infinite where `s' H s` is not positive. One Hessian-vector product. The noise of a batch
    adds to `|g|_1`; where the point's batch is in three `Pieces` or more, signs come from one of them and the squared
    slope from products of different others, each in turn, for a product a piece, and the bias is gone.
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
        parts = pieces(p.batch)
        if len(parts) < 3:
            s = tree.each(torch.sign, p.grad)
            return {"sign_gain": gain_of(float(tree.dot(p.grad, s)) ** 2, float(tree.dot(s, p.hvp(s))))}
        grads, squares, curvatures = [p.on(x).grad for x in parts], 0.0, 0.0
        for i, g in enumerate(grads):
            s = tree.each(torch.sign, g)
            squares += squared([float(tree.dot(other, s)) for j, other in enumerate(grads) if j != i])
            curvatures += float(tree.dot(s, p.hvp(s)))
        return {"sign_gain": gain_of(squares, curvatures)}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        g = tree.flat(p.grad)
        return {"sign_gain": gain_of(float(g.abs().sum()) ** 2, float(g.sign() @ h @ g.sign()))}
