"""When an orthogonalized step beats a Euclidean one: nuclear rank of gradients against stable rank of inputs."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from adamantine.pieces import pieces
from adamantine.point import Point
from adamantine.probes.orthogonality import UpdateOrthogonality


@dataclass(frozen=True)
class SpectralCondition:
    """`nr(G) = |G|_*^2 / |G|_F^2` of the gradient of each matrix, and whether it exceeds the stable rank of its inputs.

    `gradient_nuclear_rank` is the mean over matrices, with `gradient_nuclear_rank/tensor` for each. For matrices that
    `torch.nn.functional.linear` multiplies inputs with, `activation_stable_rank/tensor` is `|A|_F^2 / |A|_op^2` of
    these inputs `A`, `[tokens, in]`, and `spectral_condition/tensor` the quotient of the two: above 1 the bound for a
    spectral step is the better one. `spectral_condition` is the mean over matrices that tell. One forward pass and
    a singular value decomposition of each matrix. NaN without gradients, and without matrices.
    """

    statement: ClassVar[str] = "|A|_F^2 / |A|_op^2 <= |G|_nuclear^2 / |G|_F^2 for the inputs A of a layer"
    symmetry: ClassVar[str] = "left-right rotation"
    source: ClassVar[str] = "arXiv:2512.04299"
    bound: ClassVar[str] = "exact"
    larger: ClassVar[str] = "faster"
    null: ClassVar[str] = "A gradient of noise of the same shape has 0.72 of the shorter side; one example at most 1."
    refuted: ClassVar[str] = "It holds where orthogonalized steps are slower, or fails where they are faster."
    means: ClassVar[str] = "Above 1, Muon's step promises more than SGD's; below, the Euclidean step does."
    cost: ClassVar[dict[str, int]] = {"grad": 1, "loss": 1}

    def __call__(self, p: Point) -> dict[str, float]:
        """All of these."""
        matrices = {k: x for k, x in p.w.items() if x.ndim > 1 and min(x.flatten(1).shape) > 1}
        if not matrices:
            return {"gradient_nuclear_rank": math.nan, "spectral_condition": math.nan}
        ranks = UpdateOrthogonality()(p.after({k: p.grad[k] for k in p.w}, p.s))
        out = {f"gradient_nuclear_rank/{k}": ranks[f"nuclear_rank/{k}"] for k in matrices}
        p.cost["loss"] += 1
        for k, stable in _stable_ranks(p).items():
            if k in matrices:
                out[f"activation_stable_rank/{k}"] = stable
                out[f"spectral_condition/{k}"] = out[f"gradient_nuclear_rank/{k}"] / stable
        told = [x for k, x in out.items() if k.startswith("spectral_condition/")]
        whole = {"gradient_nuclear_rank": ranks["nuclear_rank"]}
        return {**whole, "spectral_condition": sum(told) / len(told) if told else math.nan, **out}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """By singular values of the gradient."""
        found = []
        for x in p.grad.values():
            if x.ndim > 1 and min(x.shape) > 1:
                s = torch.linalg.svdvals(x.double())
                found.append(float(s.sum().square() / s.square().sum()))
        return {"gradient_nuclear_rank": sum(found) / len(found)}


class _Inputs(TorchFunctionMode):
    """Inputs of linear layers, by the name of the weights."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names, self.seen = names, {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and len(args) > 1 and id(args[1]) in self.names:
            self.seen.setdefault(self.names[id(args[1])], []).append(args[0].detach().flatten(0, -2))
        return func(*args, **(kwargs or {}))


def _stable_ranks(p: Point) -> dict[str, float]:
    inputs = _Inputs({id(x): k for k, x in p.w.items()})
    with torch.no_grad(), inputs:
        for batch in pieces(p.batch):
            p.task.losses(p.w, batch)
    out = {}
    for k, parts in inputs.seen.items():
        a = torch.cat(parts).double()
        square = float(a.square().sum())
        small = a.T @ a if a.shape[0] >= a.shape[1] else a @ a.T
        if square > 0 and math.isfinite(square):
            out[k] = square / float(torch.linalg.eigvalsh(small)[-1])
    return out
