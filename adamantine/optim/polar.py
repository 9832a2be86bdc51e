"""The polar factor of a matrix, `U V'` of `G = U S V'`, and iterations that approximate it by matrix products alone.

Newton-Schulz with the coefficients of Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/), Polar
Express (Amsel et al., arXiv:2505.16932), and the singular value decomposition itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from math import prod
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params

Method = Literal["newton-schulz", "polar-express", "svd"]
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
    """`a x + b x x' x + c x x' x x' x` for each `(a, b, c)` in turn, `[m, n]`: an odd polynomial of singular values."""
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for a, b, c in coefficients:
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.T


def newton_schulz(g: Tensor, steps: int = 5) -> Tensor:
    """Muon's iteration, `[m, n]`: singular values end between about 0.7 and 1.2, not at one; zero stays zero."""
    return polynomials(g / (torch.linalg.matrix_norm(g) + 1e-7), [JORDAN] * steps)


def polar_express(g: Tensor, steps: int = 5) -> Tensor:
    """Polar Express, `[m, n]`: a polynomial for each step, the best for what the steps before have left."""
    safe = ((a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in EXPRESS)
    rows = chain(safe, repeat((1.875, -1.25, 0.375)))
    x = g / (torch.linalg.matrix_norm(g) * SAFETY + 1e-7)
    return polynomials(x, list(islice(rows, steps)))


def svd_polar(g: Tensor) -> Tensor:
    """`U V'`, `[m, n]`, over the singular values above rounding: zero stays zero; `g` where it is not finite."""
    if not bool(torch.isfinite(g).all()):
        return g  # training has diverged: the step will show it, and the decomposition would only raise
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    kept = s > s.max() * max(g.shape) * torch.finfo(g.dtype).eps
    return (u * kept) @ vh


def shape_factor(shape: torch.Size, shaping: Shaping) -> float:
    """What the polar factor of an update of a tensor `[m, n]` or `[m, n, ...kernel]` is multiplied by.

    "original": `max(1, m / n)^.5` (Jordan et al.); "match_rms_adamw": `0.2 max(m, n)^.5`, the root mean square of
    AdamW's updates (arXiv:2502.16982); both count the kernel as inputs. "spectral": `(m / n)^.5 / kernel size`, the
    unit ball of the norm from root mean square to root mean square (arXiv:2502.07529). "none": 1.
    """
    m, n, kernel = shape[0], shape[1], prod(shape[2:])
    if shaping == "original":
        return max(1.0, m / (n * kernel)) ** 0.5
    if shaping == "match_rms_adamw":
        return 0.2 * max(m, n * kernel) ** 0.5
    return (m / n) ** 0.5 / kernel if shaping == "spectral" else 1.0


@dataclass(frozen=True)
class Orthogonalize(Part):
    """The polar factor of each matrix, times `shape_factor`; tensors of more axes are taken as `x.flatten(1)`.

    `steps` counts the iterations; "svd" needs none. The work is done in the tensor's own precision, in float32 for
    half precision: Muon's bfloat16 is 2-3 % away. Tensors below two axes pass as they are; route them elsewhere.
    """

    method: Method = "newton-schulz"
    steps: int = 5
    shaping: Shaping = "original"
    symmetry: ClassVar[str] = "left-right rotation"

    def __post_init__(self) -> None:
        limits.choice(self, get_args(Method), method=self.method)
        limits.choice(self, get_args(Shaping), shaping=self.shaping)
        limits.whole(self, steps=self.steps)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """`polar(u) * shape_factor`."""
        return {k: x if x.ndim < 2 else self._polar(x) for k, x in u.items()}, s

    def _polar(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        g = wide.flatten(1)
        if self.method == "svd":
            out = svd_polar(g)
        else:
            out = (newton_schulz if self.method == "newton-schulz" else polar_express)(g, self.steps)
        return (out * shape_factor(x.shape, self.shaping)).reshape(x.shape).to(x.dtype)
