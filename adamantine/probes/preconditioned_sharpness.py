"""Sharpness as the optimizer feels it, against the threshold at which its steps lose stability (arXiv:2207.14484)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.sharpness import followed, refuse_few
from adamantine.response import Number, Response
from adamantine.solvers.operator import Operator, on_weights
from adamantine.tree import Params


@dataclass(frozen=True)
class PreconditionedSharpness:
    """The largest eigenvalue of `S^(1/2) H S^(1/2)`, with `S` what the optimizer multiplies its filtered gradient by.

    The rate is part of `S`, so that the number has no units. `stability_threshold` is `(2 - d) / F(-1)`: `F(-1)` the
    gain of the optimizer's averages on a gradient that changes its sign at every step, `d` what decay takes of the
    weights in a step (`adamantine/response.py`). 2 for gradient descent, `2 (1 + beta)` with heavy-ball momentum,
    `2 (1 + beta1) / (1 - beta1)` for Adam. `edge` is the quotient of both: above 1 the state of now, held still, would
    diverge on the quadratic of now. Where tensors differ in `F(-1)` or `d`, both numbers are those for the largest, and
    what the others have less goes into the matrix, so that an `edge` of 1 stays the edge.

    Costs as `Sharpness`, whose error is of the same kind. Raises ValueError where the point has no optimizer, and for
    one whose answer is not linear (signs, polar factors, masks).
    """

    products: int = 12
    tolerance: float = 0.01

    units: ClassVar[dict[str, str]] = {
        "preconditioned_sharpness": "largest eigenvalue of S^(1/2) H S^(1/2), rate included; a pure number",
        "stability_threshold": "the value of it where steps lose stability; a pure number",
        "edge": "preconditioned sharpness over its threshold; 1 at the edge of stability",
    }
    caveat: ClassVar[str] = (
        "The threshold is that of a quadratic under the state of now: an adaptive state moves within its memory and "
        "bends the edge, and on a batch that changes the edge lies where batch sharpness has it, not here."
    )

    def __post_init__(self) -> None:
        """Refuse too few products."""
        refuse_few("PreconditionedSharpness", self.products, 1)

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls; the gradient is known where a step has just been taken."""
        return {"hvp": self.products, "grad": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """All of `units`, with the bounds on the errors of the eigenvalue and of the quotient."""
        told = _response(p)
        threshold, note = stability_threshold(told), f"eigenvectors of {self!r}"
        found = followed(p, sandwich(told, p), note, "preconditioned_sharpness", self.products, self.tolerance)
        value, error = found["preconditioned_sharpness"], found["preconditioned_sharpness_error"]
        edge = {"edge": value / threshold, "edge_error": error / abs(threshold)}
        return {**found, "stability_threshold": threshold, **edge}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The eigenvalue of the dense product, `S H` having the same as `S^(1/2) H S^(1/2)`."""
        told, eye = _response(p), torch.eye(len(h), dtype=h.dtype)
        units = [tree.like(row, p.w) for row in eye]
        s = torch.stack([tree.flat(_scaled(told, told.scale, v)) for v in units], 1)
        top = float(torch.linalg.eigvals(s @ h).real.max())
        return {"preconditioned_sharpness": top, "edge": top / stability_threshold(told)}


def stability_threshold(told: Response) -> float:
    """`(2 - d) / F(-1)`, with the largest `d` and the largest `F(-1)` of all tensors."""
    return (2 - _largest(told.pull)) / _largest(told.flip)


def sandwich(told: Response, p: Point) -> Operator:
    """`S^(1/2) H S^(1/2)` at `p`, with what tensors have less than the largest in `F(-1)` and in pull folded in."""
    flip, pull = _largest(told.flip), _largest(told.pull)
    root = {k: (x * told.flip[k] / flip) ** 0.5 for k, x in told.scale.items()}
    less = {k: (x - pull) / flip for k, x in told.pull.items()}
    bent = _largest({k: -x for k, x in less.items()}) > 0

    def product(v: Params) -> Params:
        out = _scaled(told, root, p.hvp(_scaled(told, root, v)))
        return tree.add(out, _scaled(told, less, v)) if bent else out

    return on_weights(p.w, product)


def _response(p: Point) -> Response:
    who = "PreconditionedSharpness"
    if p.optimizer is None:
        raise ValueError(
            f"{who}: the point at step {p.step} has no optimizer; measure it in a Run or give p.after(...)."
        )
    told = p.optimizer.response(p.s, p)
    if told is None:
        why = getattr(p.optimizer, "unanswered", None) or "answers by signs, masks or the size of its own direction"
        raise ValueError(
            f"{who}: {_named(p.optimizer)} {why}, so that no linear threshold of its stability is known; measure "
            "Sharpness or DirectionalSharpness instead."
        )
    return told


def _named(optimizer: Any) -> str:
    said = repr(optimizer)
    return said if len(said) < 100 else f"{said[:97]}..."


def _scaled(told: Response, by: dict[str, Any], v: Params) -> Params:
    """`back(by * forth(v))`."""
    x = {k: y * by[k] for k, y in told.turned(v).items()}
    return x if told.basis is None else told.basis.back(x)


def _largest(x: dict[str, Number]) -> float:
    return max(float(y.max()) if isinstance(y, Tensor) else y for y in x.values())
