"""The trace of the Hessian, the sum of its eigenvalues (Hutchinson 1989; XTrace: arXiv:2301.07825)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.solvers.estimate import Estimate, mean
from adamantine.solvers.operator import Operator, hessian
from adamantine.solvers.trace import hutchinson, xtrace

MANY = 40  # products from which on XTrace is the better one


@dataclass(frozen=True)
class Trace:
    """`tr H`, without bias, with one standard error; `trace/tensor` is that of the tensor's own diagonal block.

    Costs `products` Hessian-vector products: Hutchinson's mean of `z' H z` below 40, XTrace from there on, which takes
    half of them for what the others span. The blocks, `z_b' (H z)_b`, come from the same products (with XTrace from
    the random half of them), and `trace_error/tensor` is their standard error. Blocks add up to Hutchinson's trace.
    """

    products: int = 16
    units: ClassVar[dict[str, str]] = {"trace": "sum of the eigenvalues of the Hessian; loss / weight^2"}
    bound: ClassVar[str] = "unbiased"
    caveat: ClassVar[str] = (
        "Negative eigenvalues cancel positive ones, and the trace depends on how the weights are parametrized: a layer "
        "scaled up and the next one down change it, and the function not at all."
    )

    def __post_init__(self) -> None:
        """Refuse too few products for an error."""
        if self.products < 2:
            raise ValueError(f"Trace: products = {self.products} must be at least 2, or there is no error.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"hvp": self.products}

    def __call__(self, p: Point) -> dict[str, float]:
        """`trace`, and `trace/tensor` where there is more than one, with their errors."""
        a, rng, asked = hessian(p), p.rng("trace"), []
        product = a.product

        def noted(v: Tensor) -> Tensor:
            image = product(v)
            if len(asked) < drawn:
                asked.append(_by_tensor(v * image, p))
            return image

        exact = self.products >= MANY
        drawn = min(self.products // 2, a.size) if exact else self.products
        a = Operator(noted, a.size, a.like)
        whole = xtrace(a, self.products, rng) if exact else hutchinson(a, self.products, rng)
        out = {"trace": whole.value, "trace_error": whole.error}
        if len(p.w) > 1:
            for k, x in zip(p.w, torch.tensor(asked, dtype=torch.float64).T, strict=True):
                block: Estimate = mean(x, drawn)
                out |= {f"trace/{k}": block.value, f"trace_error/{k}": block.error}
        return out

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The sum of the diagonal."""
        return {"trace": float(h.trace())}


def _by_tensor(v: Tensor, p: Point) -> list[float]:
    return [float(x.sum()) for x in tree.like(v, p.w).values()]
