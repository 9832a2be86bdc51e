"""Where the eigenvalues of the Hessian lie, by stochastic Lanczos quadrature (Ghorbani et al., arXiv:1901.10159)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.estimate import Estimate, mean
from adamantine.solvers.operator import gauss_newton, hessian
from adamantine.solvers.quadrature import Density, density

MATRICES = {"hessian": hessian, "gauss_newton": gauss_newton}
ZERO = 1e-3  # of the largest eigenvalue: what is nearer to zero, a few dozen nodes do not tell from it
APART = 0.1  # an eigenvalue stands alone where its bound is below this share of its distance to the bulk


@dataclass(frozen=True)
class Spectrum:
    """Extreme eigenvalues, quantiles, outliers and the density of the `matrix`, "hessian" or "gauss_newton".

    From `starts` random vectors with `products` matrix-vector products each; errors are between starts, NaN where there
    is only one. Keeps `products` vectors as long as the weights while it works.

    `largest_eigenvalue`, `smallest_eigenvalue`: outermost Ritz values of all starts; their errors bound the distance to
    an eigenvalue. `spectrum_quantile/q`: a share `q` of all eigenvalues lies below. `spectrum_mass/...`: the share in
    each decade, of either sign, from `10^a` to `10^b` for `decades = (a, b)` and beyond, named by the end nearer to
    zero; "0" is what lies nearer to zero than all. `negative_mass`: the share below zero by more than 1e-3 of the
    largest in size. `bulk_edge`: the median and twice the distance from there to the 95 % quantile, which is 1.6 radii
    of a semicircle. `outliers`: how many Ritz values stand alone above that edge, with a residual bound below a tenth
    of their distance to it; the mean over starts.
    """

    matrix: str = "hessian"
    products: int = 24
    starts: int = 3
    decades: tuple[int, int] = (-4, 2)
    caveat: ClassVar[str] = (
        "Outliers are those that so many products resolve, and equal eigenvalues count as one; the density has a node "
        "for each product, and no finer features: compare at equal products and starts."
    )
    bound: ClassVar[str] = "exact"
    QUANTILES: ClassVar[tuple[float, ...]] = (0.05, 0.25, 0.5, 0.75, 0.95)
    units: ClassVar[dict[str, str]] = {
        "largest_eigenvalue": "largest eigenvalue; loss / weight^2",
        "smallest_eigenvalue": "smallest eigenvalue; loss / weight^2",
        "spectrum_quantile": "eigenvalue that a share of all eigenvalues lies below; loss / weight^2",
        "spectrum_mass": "share of the eigenvalues in a decade; 1",
        "negative_mass": "share of the eigenvalues below zero; 1",
        "bulk_edge": "upper end of the bulk; loss / weight^2",
        "outliers": "eigenvalues that stand alone above the bulk; count",
    }

    def __post_init__(self) -> None:
        """Refuse another matrix, too few products or starts, and decades that are none."""
        if self.matrix not in MATRICES:
            raise ValueError(f"Spectrum: matrix {self.matrix!r} is not one of {', '.join(MATRICES)}.")
        if self.products < 2 or self.starts < 1 or self.decades[0] >= self.decades[1]:
            raise ValueError("Spectrum: products must be at least 2, starts at least 1, and decades ascend.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {{"hessian": "hvp", "gauss_newton": "ggn"}[self.matrix]: self.products * self.starts}

    def __call__(self, p: Point) -> dict[str, float]:
        """All of `units`, with errors."""
        found = density(MATRICES[self.matrix](p), self.products, self.starts, p.rng("spectrum"))
        if not bool(found.nodes.isfinite().all()):
            return dict.fromkeys(self._names(), math.nan)
        out = _extreme(found, "largest_eigenvalue", int(found.nodes.argmax()))
        out |= _extreme(found, "smallest_eigenvalue", int(found.nodes.argmin()))
        for q in self.QUANTILES:
            out |= _named("spectrum_quantile", found.quantile(q), f"/{q}")
        for name, low, high in self._decades():
            out |= _named("spectrum_mass", found.share(low, high), f"/{name}")
        out |= _named("negative_mass", found.share(high=-ZERO * float(found.nodes.abs().max())))
        middle, high = found.quantile(0.5), found.quantile(0.95)
        edge = 2 * high.value - middle.value
        out |= {"bulk_edge": edge, "bulk_edge_error": 2 * high.error + middle.error}
        return out | _named("outliers", _outliers(found, edge))

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The outermost eigenvalues."""
        values = torch.linalg.eigvalsh(h)
        return {"largest_eigenvalue": float(values[-1]), "smallest_eigenvalue": float(values[0])}

    def _decades(self) -> list[tuple[str, float, float]]:
        """Name and ends of each, from below."""
        ends = [10.0**i for i in range(self.decades[0], self.decades[1] + 1)]
        above = list(zip(ends, [*ends[1:], math.inf], strict=True))
        below = [(f"-{a:.0e}", -b, -a) for a, b in reversed(above)]
        return [*below, ("0", -ends[0], ends[0]), *[(f"+{a:.0e}", a, b) for a, b in above]]

    def _names(self) -> list[str]:
        parts = [f"spectrum_quantile/{q}" for q in self.QUANTILES]
        parts += [f"spectrum_mass/{name}" for name, _, _ in self._decades()]
        names = [*(k for k in self.units if not k.startswith("spectrum")), *parts]
        return [y for x in names for y in (x, x.partition("/")[0] + "_error" + "".join(x.partition("/")[1:]))]


def _extreme(found: Density, name: str, i: int) -> dict[str, float]:
    return {name: float(found.nodes.flatten()[i]), f"{name}_error": float(found.bounds.flatten()[i])}


def _named(name: str, x: Estimate, part: str = "") -> dict[str, float]:
    return {f"{name}{part}": x.value, f"{name}_error{part}": x.error}


def _outliers(found: Density, edge: float) -> Estimate:
    alone = (found.weights > 0) & (found.nodes > edge) & (found.bounds < APART * (found.nodes - edge))
    return mean(alone.sum(1).double(), found.products)
