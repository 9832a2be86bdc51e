"""A quadratic with a designed spectrum and basis, and gradient noise: every answer is known."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from adamantine.point import Draw, stream
from adamantine.role import Tag, Tags
from adamantine.tree import Params, flat, like


def power_law(d: int, exponent: float = 1.0, largest: float = 1.0) -> tuple[float, ...]:
    """Eigenvalues `largest / i^exponent`, `i = 1 ... d`."""
    return tuple(largest / i**exponent for i in range(1, d + 1))


@dataclass(frozen=True)
class Quadratic:
    """`f(w) = w' H w / 2`, to which each example adds `noise * e' w` with its own standard normal `e`.

    `H` has the given `eigenvalues`, along the coordinates (`basis="identity"`) or in a Haar basis drawn from
    `basis_seed` ("random"). `w` is one vector, or with `matrix=(m, n)` a matrix of the first `m n` coordinates and
    a vector of the rest. Raises ValueError where the fields describe no such function.
    """

    eigenvalues: tuple[float, ...] = power_law(12)
    basis: str = "identity"
    noise: float = 0.0
    batch: int = 8
    matrix: tuple[int, int] | None = None
    basis_seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no such function."""
        if self.basis not in ("identity", "random"):
            raise ValueError(f"Quadratic: basis {self.basis!r} is not one of identity, random.")
        if not self.eigenvalues or self.batch < 1 or self.noise < 0:
            raise ValueError("Quadratic: eigenvalues are not empty, batch is at least 1, and noise not negative.")
        if self.matrix is not None and self.matrix[0] * self.matrix[1] > self.dim:
            raise ValueError(f"Quadratic: a matrix of {self.matrix} does not fit into {self.dim} coordinates.")

    @property
    def dim(self) -> int:
        """How many coordinates there are."""
        return len(self.eigenvalues)

    def hessian(self) -> Tensor:
        """`H`, `[d, d]`, float64, at every point."""
        return _hessian(self)

    def minimum(self) -> float:
        """The least value, at 0; for a negative eigenvalue there is none, and it is minus infinity."""
        return 0.0 if min(self.eigenvalues) >= 0 else -float("inf")

    def value(self, w: Params) -> float:
        """`w' H w / 2`, the expected loss."""
        x = flat(w).double().cpu()
        return float(0.5 * x @ self.hessian() @ x)

    def after(self, w: Params, rate: float, steps: int) -> Params:
        """Where noiseless gradient descent is after `steps` from `w`: `(1 - rate H)^steps w`."""
        step = torch.eye(self.dim, dtype=torch.float64) - rate * self.hessian()
        x = flat(w)
        return like((torch.linalg.matrix_power(step, steps) @ x.double()).to(x.dtype), w)

    def stationary(self, rate: float) -> float:
        """Expected loss of SGD after long at a constant rate: the sum of `rate noise^2 / (2 B (2 - rate lambda))`.

        Infinite from `rate = 2 / lambda_max` on. Eigenvalues of zero are left out: their coordinates never settle.
        """
        kept = [x for x in self.eigenvalues if x != 0]
        if rate * max(kept) >= 2:
            return float("inf")
        return sum(rate * self.noise**2 / (2 * self.batch * (2 - rate * x)) for x in kept)

    def init(self, rng: torch.Generator) -> Params:
        """Standard normal."""
        x = torch.randn(self.dim, generator=rng)
        if self.matrix is None:
            return {"w": x}
        size = self.matrix[0] * self.matrix[1]
        rest = {"rest": x[size:]} if size < self.dim else {}
        return {"matrix": x[:size].view(self.matrix), **rest}

    def tags(self) -> Tags:
        """A matrix is a hidden one, a vector a bias: the coordinates belong to no network."""
        if self.matrix is None:
            return Tags((("w", Tag("bias")),))
        rest = (("rest", Tag("bias")),) if self.matrix[0] * self.matrix[1] < self.dim else ()
        return Tags((("matrix", Tag("matrix")), *rest))

    def source(self, rng: torch.Generator) -> Draw:
        """Batches of `e`, `[B, d]`."""
        return lambda w: torch.randn(self.batch, self.dim, generator=rng)

    def losses(self, w: Params, batch: Tensor) -> Tensor:
        """`w' H w / 2 + noise e' w` of each example, `[B]`."""
        x = flat(w)
        h = self.hessian().to(x.device, x.dtype)
        return 0.5 * x @ (h @ x) + self.noise * (batch @ x)

    def score(self, w: Params) -> dict[str, float]:
        """`held_out`: the expected loss."""
        return {"held_out": self.value(w)}


@lru_cache(maxsize=64)
def _hessian(task: Quadratic) -> Tensor:
    spectrum = torch.tensor(task.eigenvalues, dtype=torch.float64)
    if task.basis == "identity":
        return spectrum.diag()
    rng = stream(task.basis_seed, f"quadratic/{task.dim}")
    q, r = torch.linalg.qr(torch.randn(task.dim, task.dim, generator=rng, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return (q * spectrum) @ q.T
