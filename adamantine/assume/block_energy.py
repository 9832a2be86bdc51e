"""Block-diagonality: how much of the Hessian lies inside the tensors."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from adamantine.assume.haar import entries
from adamantine.point import Point
from adamantine.solvers.diagonal import block_energy
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class BlockEnergy:
    """`sum_b |H_bb|_F^2 / |H|_F^2` over the tensors `b`: 1 for a Hessian without curvature between tensors.

    From `probes` random signs on each tensor, `probes` times as many products as there are tensors. Without bias, but
    for the ratio's, which is of second order in the error, the jackknife's. `block_energy/tensor` is the share of one.
    """

    probes: int = 4
    statement: ClassVar[str] = "sum_b |H_bb|_F^2 <= |H|_F^2, with equality if H is block-diagonal"
    symmetry: ClassVar[str] = "layer rotation"
    source: ClassVar[str] = "arXiv:2402.16788, arXiv:2410.19964"
    bound: ClassVar[str] = "unbiased"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = (
        "Of a Haar-rotated Hessian: (d_b / d) ((r + 2) (d - 1) + (d_b - 1) (d - r)) / ((d - 1) (d + 2)) for a tensor "
        "of d_b numbers, with the effective rank r."
    )
    refuted: ClassVar[str] = "Rotations that destroy it do not slow Adam, or most of the energy lies between tensors."
    means: ClassVar[str] = "Near 1, tensors may be treated one by one, each with a rate and a second moment of its own."

    def __post_init__(self) -> None:
        """Refuse too few probes for an error."""
        if self.probes < 3:
            raise ValueError(f"BlockEnergy: probes = {self.probes} must be at least 3, or there is no error.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp a tensor": self.probes}

    def __call__(self, p: Point) -> dict[str, float]:
        """`block_energy`, and `block_energy/tensor` where there is more than one, with their errors."""
        a, sizes = hessian(p), [x.numel() for x in p.w.values()]
        found, whole = block_energy(a, a, sizes, self.probes, p.rng("blocks"))
        out = {"block_energy": whole.value, "block_energy_error": whole.error}
        if len(found) > 1:
            for k, x in zip(p.w, found, strict=True):
                out |= {f"block_energy/{k}": x.value, f"block_energy_error/{k}": x.error}
        return out

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """From the matrix."""
        inside, at = 0.0, 0
        for x in p.w.values():
            here = slice(at, at + x.numel())
            inside, at = inside + float(h[here, here].square().sum()), at + x.numel()
        return {"block_energy": inside / float(h.square().sum())}

    def under_null(self, p: Point) -> dict[str, float]:
        """With the effective rank from sixteen products."""
        found = entries(p, 16)
        out: dict[str, float] = {}
        for k, x in p.w.items():
            n = x.numel()
            out[f"block_energy/{k}"] = n * found.diagonal + n * (n - 1) * found.other
        whole = {"block_energy": float(sum(out.values()))}
        return whole | (out if len(out) > 1 else {})
