"""How evenly the gradient spreads over the coordinates (Balles, Pedregosa & Le Roux, arXiv:2002.08056)."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.known import refuse_few_batches
from adamantine.solvers.estimate import jackknife_error
from adamantine.tree import Params


@dataclass(frozen=True)
class GradientDensity:
    """`|g|_1^2 / (d |g|_2^2)`: from `1 / d` for a single coordinate to 1 where all are equally large.

    `2 / pi` for a Gaussian vector, and so in coordinates rotated at random; minibatch noise pulls it there too, so
    that small batches hide structure. No cost beyond the gradient. NaN for a gradient of zero.

    With `fresh`, `fresh_gradient_density` is what the signs of one batch find of the gradient `G` of the whole loss,
    `<G, E sign(g)>^2 / (d |G|^2)`: the density of `G` where noise changes no sign, and otherwise less, towards zero.
    From `batches` independent batches, the gradient of one with the signs of another, with the jackknife's standard
    error; the bias of the ratio is below a fifth of it. NaN where the batches do not tell `G` from zero. Raises
    ValueError, with `fresh`, where the task draws no further batches.
    """

    fresh: bool = False
    batches: int = 4

    def __post_init__(self) -> None:
        """Refuse too few batches for the jackknife."""
        refuse_few_batches(self.batches, "GradientDensity")

    @property
    def units(self) -> dict[str, str]:
        """Of every name."""
        own = {"gradient_density": "|g|_1^2 / (d |g|_2^2), between 1/d and 1"}
        whole = {"fresh_gradient_density": "<G, E sign(g)>^2 / (d |G|^2), G of the whole loss, g of a batch; at most 1"}
        return own | whole if self.fresh else own

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"grad": 1 + self.batches * self.fresh}

    @property
    def caveat(self) -> str:
        """When it misleads."""
        if self.fresh:
            return "Minibatch noise pulls it to 2 / pi, and the fresh one to zero, whatever the full gradient's is."
        return "Minibatch noise pulls it to 2 / pi, whatever the full gradient's is."

    def __call__(self, p: Point) -> dict[str, float]:
        """`gradient_density` and, with `fresh`, `fresh_gradient_density` with its error."""
        found = {"gradient_density": _density(p.grad)}
        if self.fresh:
            signs, squares = _pairs(p.fresh(f"gradient density/{i}").grad for i in range(self.batches))
            value, error = _jackknife(signs, squares)
            size = tree.size(p.w)
            found |= {"fresh_gradient_density": value / size, "fresh_gradient_density_error": error / size}
        return found

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The density of `H w`."""
        g = h @ tree.flat(p.w)
        return {"gradient_density": float(g.abs().sum() ** 2 / (len(g) * g.square().sum()))}


def _density(grad: Params) -> float:
    g = [*grad.values()]
    dtype = reduce(torch.promote_types, (x.dtype for x in g), torch.float32)  # half precision would overflow
    one = torch._foreach_norm(g, 1, dtype)  # pyright: ignore[reportPrivateImportUsage]
    two = torch._foreach_norm(g, 2, dtype)  # pyright: ignore[reportPrivateImportUsage]
    sums, lengths = torch.stack([*one, *two]).cpu().double().view(2, -1)
    return float((sums.sum() / lengths.norm()).square() / tree.size(grad))  # 0 / 0 is NaN


def _pairs(grads: Iterable[Params]) -> tuple[Tensor, Tensor]:
    """`<g_i, sign g_j>` and `<g_i, g_j>`, each `[n, n]`, on the host."""
    rows = torch.stack([tree.flat(g) for g in grads])
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    signs, squares = torch.stack([rows @ rows.sign().T, rows @ rows.T]).cpu().double()
    return signs, squares


def _jackknife(signs: Tensor, squares: Tensor) -> tuple[float, float]:
    """The squared mean over pairs of `signs` over that of `squares`, and its error: from all, and from all but one."""
    n = len(signs)
    whole = _ratio(signs, squares)
    without = torch.stack([_ratio(signs[k][:, k], squares[k][:, k]) for k in ~torch.eye(n, dtype=torch.bool)])
    return float(whole), float(jackknife_error(without))


def _ratio(signs: Tensor, squares: Tensor) -> Tensor:
    n = len(signs)
    above, below = ((x.sum() - x.trace()) / (n * (n - 1)) for x in (signs, squares))
    return torch.where(below > 0, above.square() / below, torch.nan)
