"""The polar factor of a matrix, `U V'` of `G = U S V'`, and iterations that approximate it by matrix products alone.

Newton-Schulz with the coefficients of Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/), Polar
Express (Amsel et al., arXiv:2505.16932), and the singular value decomposition itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.role import Tags
from adamantine.tree import Params

Method = Literal["newton-schulz", "polar-express", "svd"]
Precision = Literal["own", "bfloat16"]
Shaping = Literal["none", "original", "spectral", "match_rms_adamw"]

JORDAN = (3.4445, -4.7750, 2.0315)
EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
SAFETY = 1.01  # keeps singular values that rounding has pushed above one inside the interval of the next polynomial


def polynomials(x: Tensor, coefficients: Sequence[tuple[float, float, float]]) -> Tensor:
    """`a x + b x x' x + c x x' x x' x` for each `(a, b, c)` in turn, `[..., m, n]`: odd in the singular values."""
    if x.ndim > 3:
        return polynomials(x.flatten(0, -3), coefficients).view_as(x)
    turned = x.shape[-2] > x.shape[-1]
    wide = x.mT if turned else x
    # One product and sum at a time, in the library's own routine: no further pass over memory.
    plus = torch.addmm if x.ndim == 2 else torch.baddbmm
    for a, b, c in coefficients:
        gram = wide @ wide.mT
        wide = plus(wide, plus(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if turned else wide


def newton_schulz(g: Tensor, steps: int = 5) -> Tensor:
    """Muon's iteration, `[..., m, n]`: singular values end between about 0.7 and 1.2, not at one; zero stays zero."""
    return polynomials(g / (torch.linalg.matrix_norm(g, keepdim=True) + 1e-7), [JORDAN] * steps)


def polar_express(g: Tensor, steps: int = 5) -> Tensor:
    """Polar Express, `[..., m, n]`: a polynomial for each step, the best for what the steps before have left."""
    safe = ((a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in EXPRESS)
    rows = chain(safe, repeat((1.875, -1.25, 0.375)))
    x = g / (torch.linalg.matrix_norm(g, keepdim=True) * SAFETY + 1e-7)
    return polynomials(x, list(islice(rows, steps)))


def svd_polar(g: Tensor) -> Tensor:
    """`U V'`, `[..., m, n]`, over singular values above rounding: zero stays zero; `g` where it is not finite."""
    if not bool(torch.isfinite(g).all()):
        return g  # training has diverged: the step will show it, and the decomposition would only raise
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    kept = s > s.amax(-1, keepdim=True) * max(g.shape[-2:]) * torch.finfo(g.dtype).eps
    return (u * kept[..., None, :]) @ vh


def precise(x: Tensor) -> Tensor:
    """`x` in float32 at least, where decompositions and long products live."""
    return x if x.dtype == torch.float64 else x.float()


def matrices(name: str, x: Tensor, tags: Tags | None) -> Tensor:
    """The tensor as `[..., m, n]`: `x.flatten(1)`, unless `tags` say that it is a stack (experts, heads)."""
    if x.ndim < 3 or tags is None or tags[name].role in ("convolution", "patch"):
        return x.flatten(1)
    return x


def shape_factor(m: int, n: int, kernel: int, shaping: Shaping) -> float:
    """What the polar factor of an update of `[m, n]` or of a convolution `[m, n, ...kernel]` is multiplied by.

    "original": `max(1, m / n)^.5` (Jordan et al.); "match_rms_adamw": `0.2 max(m, n)^.5`, the root mean square of
    AdamW's updates (arXiv:2502.16982); both count the kernel as inputs. "spectral": `(m / n)^.5 / kernel size`, the
    unit ball of the norm from root mean square to root mean square (arXiv:2502.07529). "none": 1.
    """
    if shaping == "original":
        return max(1.0, m / (n * kernel)) ** 0.5
    if shaping == "match_rms_adamw":
        return 0.2 * max(m, n * kernel) ** 0.5
    return (m / n) ** 0.5 / kernel if shaping == "spectral" else 1.0


@dataclass(frozen=True)
class Orthogonalize(Part):
    """The polar factor of each matrix, times `shape_factor`.

    Tensors of more axes are taken as `x.flatten(1)`; where `tags` are known only convolutions are, and others are
    stacks of matrices (experts; heads, inside `Unfused`), each with a factor of its own. `steps` counts the iterations;
    "svd" needs none. The work is done in the tensor's own precision, in float32 for half precision. With
    `precision="bfloat16"` the iterations are done as Muon's authors do them, 2-3 % away from the same in float32, and
    faster where the processor has products in that type. Tensors below two axes pass as they are; route them elsewhere.
    """

    method: Method = "newton-schulz"
    steps: int = 5
    shaping: Shaping = "original"
    precision: Precision = "own"
    tags: Tags | None = None
    symmetry: ClassVar[str] = "left-right rotation"

    def __post_init__(self) -> None:
        limits.choice(self, get_args(Method), method=self.method)
        limits.choice(self, get_args(Shaping), shaping=self.shaping)
        limits.choice(self, get_args(Precision), precision=self.precision)
        limits.whole(self, steps=self.steps)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`polar(u) * shape_factor`."""
        return {k: x if x.ndim < 2 else self._polar(k, x) for k, x in u.items()}, s

    def _polar(self, k: str, x: Tensor) -> Tensor:
        g = matrices(k, precise(x), self.tags)
        if self.method == "svd":
            out = svd_polar(g)
        else:
            iterate = newton_schulz if self.method == "newton-schulz" else polar_express
            out = (
                iterate(g.bfloat16(), self.steps).to(g.dtype)
                if self.precision == "bfloat16"
                else iterate(g, self.steps)
            )
        kernel = g.shape[-1] // x.shape[1] if g.ndim == 2 else 1
        factor = shape_factor(g.shape[-2], g.shape[-1] // kernel, kernel, self.shaping)
        return (out * factor).reshape(x.shape).to(x.dtype)
