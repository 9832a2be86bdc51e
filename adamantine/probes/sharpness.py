"""The largest eigenvalues of the Hessian (sharpness: Cohen et al., arXiv:2103.00065)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.operator import Operator, hessian
from adamantine.solvers.track import track


@dataclass(frozen=True)
class Sharpness:
    """The largest eigenvalue of the Hessian of the point's loss, and a bound on its error.

    With `top` above 1 also `eigenvalue/2` ... `eigenvalue/top`, in descending order, and with `smallest` the smallest,
    `smallest_eigenvalue`. The first measurement takes `products` Hessian-vector products, for each end of the spectrum;
    a later one starts from the eigenvectors found before and takes `2 top + 1`, or more, up to `products`, while the
    estimated error exceeds `tolerance` times the value. An `..._error` bounds the distance to the nearest eigenvalue
    (the residual norm, and at least the rounding), which is far more than the error where the gap to the next is wide;
    it does not tell whether another one has just overtaken, which may be missed for a measurement or two. On a new
    batch each time more products are needed than on one that stays. Keeps `top + 1` vectors as long as the weights in
    the notes. Raises ValueError where `products` are too few.
    """

    products: int = 12
    top: int = 1
    smallest: bool = False
    tolerance: float = 0.01

    caveat: ClassVar[str] = (
        "A batch's sharpness exceeds the full loss's on average, and with cross-entropy it falls with the training "
        "loss: compare at equal batch and equal loss."
    )

    def __post_init__(self) -> None:
        """Refuse too few products."""
        refuse_few("Sharpness", self.products, self.top)

    @property
    def units(self) -> dict[str, str]:
        """Of every name."""
        out = {"sharpness": "largest eigenvalue of the Hessian; loss / weight^2"}
        if self.top > 1:
            out["eigenvalue"] = "next eigenvalues of the Hessian, by rank; loss / weight^2"
        if self.smallest:
            out["smallest_eigenvalue"] = "smallest eigenvalue of the Hessian; loss / weight^2"
        return out

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.products * (1 + self.smallest)}

    def __call__(self, p: Point) -> dict[str, float]:
        """All of `units`, with their errors."""
        a, note = hessian(p), f"eigenvectors of {self!r}"
        out = followed(p, a, note, "sharpness", self.products, self.tolerance, self.top)
        if self.smallest:
            note = f"smallest {note}"
            out |= followed(p, a, note, "smallest_eigenvalue", self.products, self.tolerance, sign=-1)
        return out

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The eigenvalues."""
        values = torch.linalg.eigvalsh(h).tolist()
        rest = {f"eigenvalue/{i}": values[-i] for i in range(2, self.top + 1)}
        return {"sharpness": values[-1], **rest} | ({"smallest_eigenvalue": values[0]} if self.smallest else {})


def refuse_few(who: str, products: int, top: int) -> None:
    """Raise ValueError where so few products cannot follow `top` eigenvalues."""
    if top < 1 or products < 2 * top + 1:
        raise ValueError(
            f"{who}: top = {top} eigenvalues need products = {products} to be at least 2 top + 1, and top at least 1."
        )


def followed(
    p: Point, a: Operator, note: str, name: str, products: int, tolerance: float, top: int = 1, sign: int = 1
) -> dict[str, float]:
    """The outermost eigenvalue of `a` as `name`, the next as `eigenvalue/2` ..., each with a bound on its error.

    Starts from the eigenvectors under `note` in the point's notes, and leaves there what it finds.
    """
    key = f"{note}, of {a.size} coordinates"  # a part of the weights has vectors of its own
    found = track(a, p.rng(note), p.notes.get(key), top, sign, tolerance, products)
    if bool(found.values.isfinite().all()):
        p.notes[key] = found.start
    out, rounding = {}, torch.finfo(a.like.dtype).eps  # of products with vectors of length 1
    for i, (value, bound) in enumerate(zip(found.values.tolist(), found.bounds.tolist(), strict=True), 1):
        key, part = (name, "") if i == 1 else ("eigenvalue", f"/{i}")
        out |= {f"{key}{part}": value, f"{key}_error{part}": max(bound, rounding * abs(value))}
    return out
