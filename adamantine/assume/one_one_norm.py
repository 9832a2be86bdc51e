"""The (1,1)-norm of the Hessian: an upper bound of smoothness in the maximum norm that products alone can estimate."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine.point import Point
from adamantine.solvers.cauchy import one_one
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class OneOneNorm:
    """`sum_ij |H_ij|`, without bias, from `probes` products with vectors of independent Cauchy variables.

    `(H v)_i` is then Cauchy with scale `r_i = sum_j |H_ij|`, and `cos(pi / 2n)^n prod_k |(H v_k)_i|^(1/n)` has the
    mean `r_i` for every `n >= 2`: a geometric mean, whose logarithms are summed in float64. All rows share the probes,
    so errors do not average out over rows: `one_one_norm_error` is the jackknife's standard error over probes, of the
    whole sum. The norm exceeds the constant of smoothness in the maximum norm, by a factor of up to about
    `0.5 sqrt(d)` for dense random Hessians, and so exaggerates what a rotation does. Keeps `probes` float64 numbers a
    coordinate while it works.
    """

    probes: int = 24
    statement: ClassVar[str] = "|grad f(x) - grad f(y)|_1 <= |H|_(1,1) |x - y|_inf where H is the Hessian"
    symmetry: ClassVar[str] = "signed permutation"
    source: ClassVar[str] = "arXiv:2410.08198, arXiv:2410.19964"
    bound: ClassVar[str] = "unbiased"
    larger: ClassVar[str] = "slower"
    null: ClassVar[str] = "Of a Haar-rotated Hessian: about d sqrt(2 / pi) |H|_F off the diagonal."
    refuted: ClassVar[str] = "Bases with a smaller norm do not train faster under Adam."
    means: ClassVar[str] = "An upper bound on what a basis costs Adam; loose where the Hessian is dense."

    def __post_init__(self) -> None:
        """Refuse too few probes for an error."""
        if self.probes < 4:
            raise ValueError(f"OneOneNorm: probes = {self.probes} must be at least 4, or the error has no variance.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.probes}

    def __call__(self, p: Point) -> dict[str, float]:
        """`one_one_norm` and `one_one_norm_error`."""
        found = one_one(hessian(p), self.probes, p.rng("cauchy"))
        return {"one_one_norm": found.value, "one_one_norm_error": found.error}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The sum of absolute entries."""
        return {"one_one_norm": float(h.abs().sum())}
