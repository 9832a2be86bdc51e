"""What the noise of gradients meets of the curvature: `tr(H Sigma)` (arXiv:1812.06162, arXiv:1906.07774)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.gradient_sample import examples
from adamantine.solvers.estimate import jackknife_error
from adamantine.solvers.operator import hessian


@dataclass(frozen=True)
class NoiseCurvature:
    """`tr(H Sigma)` of the Hessian `H` and the covariance `Sigma` of the gradients of single examples, and its ratios.

    `curvature_noise_scale = tr(H Sigma) / (G' H G)` is the batch size at which the noise costs a step as much as the
    gradient `G` gains it. `noise_curvature = tr(H Sigma) / tr Sigma` is the mean curvature along the noise, and
    `noise_alignment` that over the mean curvature of all `d` directions, `tr H / d`: 1 where the noise is isotropic.

    `H` is that of the point's batch, the gradients `g_i` are those of `batches` others, drawn independently, of sizes
    with the harmonic mean `m`: `tr(H Sigma)` is `m` times the mean of `g_i' H g_i` less that of `g_i' H g_j` over
    `i != j`, which is `G' H G`; both without bias, the ratios are of such. `tr H` is from as many products with random
    signs. Errors are the jackknife's over the gradients, and to first order with that of `tr H`; how `H` varies with
    its batch is not in them. A ratio is NaN where its denominator is not estimated to be positive. Holds `batches`
    gradients. Raises ValueError where the task draws no further batches.
    """

    batches: int = 8

    units: ClassVar[dict[str, str]] = {
        "noise_trace": "tr(H Sigma) of a single example's gradient; loss^3 / weight^4",
        "signal_curvature": "G' H G of the expected gradient; loss^3 / weight^4",
        "curvature_noise_scale": "tr(H Sigma) / (G' H G); examples",
        "noise_curvature": "tr(H Sigma) / tr Sigma, mean curvature along the noise; loss / weight^2",
        "noise_alignment": "the same over tr H / d; 1 for isotropic noise",
    }
    bound: ClassVar[str] = "unbiased"
    caveat: ClassVar[str] = (
        "Where negative curvature balances positive, tr H and G' H G are near zero and what is divided by them says "
        "nothing; and from few batches the ratios come out too large."
    )

    def __post_init__(self) -> None:
        """Refuse too few batches."""
        if self.batches < 3:
            raise ValueError(f"NoiseCurvature: batches = {self.batches} must be at least 3, or there is no error.")

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls: a gradient, its size and two products a batch, and the point's gradient."""
        return {"grad": self.batches + 1, "loss": self.batches, "hvp": 2 * self.batches}

    def __call__(self, p: Point) -> dict[str, float]:
        """Every number in `units`, and its error."""
        if not bool(torch.isfinite(tree.norm(p.grad))):  # no other batch is asked where this one gives no number
            return {k: math.nan for name in self.units for k in (name, f"{name}_error")}
        a, rng = hessian(p), p.rng("noise curvature")
        points = [p.fresh(f"noise curvature/{i}") for i in range(self.batches)]
        gradients = torch.stack([tree.flat(x.grad) for x in points])
        size = 1 / (sum(1 / examples(x) for x in points) / self.batches)
        curved = torch.stack([gradients @ (a @ g) for g in gradients])
        signs = [a.signs(rng) for _ in range(self.batches)]
        traces = torch.stack([z @ (a @ z) for z in signs]).cpu().double()
        grams = torch.stack([curved, gradients @ gradients.T]).cpu().double()
        value, error = _jackknife(grams, size)
        mean, of_mean = float(traces.mean()) / a.size, float(traces.std()) / self.batches**0.5 / a.size
        value["noise_alignment"] = value["noise_curvature"] / mean if mean > 0 else math.nan
        relative = of_mean / mean * value["noise_alignment"] if mean > 0 else math.nan
        error["noise_alignment"] = math.hypot(error["noise_curvature"] / mean, relative) if mean > 0 else math.nan
        out = {k: x for name in self.units for k, x in ((name, value[name]), (f"{name}_error", error[name]))}
        # One NaN object, so that equal results are equal.
        return {k: math.nan if math.isnan(x) else x for k, x in out.items()}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """`w' H^3 w`, where the examples add no noise."""
        g = h @ tree.flat(p.w)
        return {"signal_curvature": float(g @ h @ g)}


def _jackknife(grams: Tensor, size: float) -> tuple[dict[str, float], dict[str, float]]:
    """What `[2, n, n]` inner products of gradients tell, with `H` between them and without, and the standard errors."""
    n = grams.shape[1]
    own = grams.diagonal(dim1=1, dim2=2)
    rows = grams.sum(2) - own
    whole = _ratios(own.sum(1), rows.sum(1), n, size)
    left = _ratios(own.sum(1, keepdim=True) - own, rows.sum(1, keepdim=True) - 2 * rows, n - 1, size)
    error = {k: float(jackknife_error(x)) for k, x in left.items()}
    return {k: float(x) for k, x in whole.items()}, error


def _ratios(own: Tensor, pairs: Tensor, n: int, size: float) -> dict[str, Tensor]:
    """From sums over the diagonal and over the rest, of `n` gradients."""
    signal = pairs / (n * (n - 1))
    noise = size * (own / n - signal)
    return {
        "noise_trace": noise[0],
        "signal_curvature": signal[0],
        "curvature_noise_scale": torch.where(signal[0] > 0, noise[0] / signal[0], math.nan),
        "noise_curvature": torch.where(noise[1] > 0, noise[0] / noise[1], math.nan),
    }
