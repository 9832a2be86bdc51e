"""Whether the momentum (the heavy ball: Polyak 1964, or an average of gradients) points where the gradient does."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine import tree
from adamantine.live import FIRST, Live
from adamantine.point import Point
from adamantine.probes.known import optimizer, refuse_few_batches
from adamantine.solvers.estimate import jackknife_error
from adamantine.tree import Params


@dataclass(frozen=True)
class MomentumCosine:
    """Cosine between the optimizer's first moment `m`, after the step, and the gradient: of all, and by tensor.

    The present gradient is in `m` with the weight `1 - beta`, which alone makes the cosine with it positive, and its
    noise makes it small. With `fresh`, `fresh_momentum_cosine` is that with the gradient `G` of the whole loss,
    `<m, G> / (|m| |G|)`, from `batches` batches that `m` has not seen: `|G|^2` is the mean inner product of the
    gradients of different batches, so that noise adds nothing, and it may lie a little beyond 1. The standard error is
    the jackknife's; the bias of the ratio is below a fifth of it. NaN where the batches do not tell `G` from zero.

    Tensors without a moment (there is one for part of them) take no part. Raises ValueError where no average of
    gradients is held: none at all, none yet, or one of steps that were scaled before; and, with `fresh`, where the
    task draws no further batches.
    """

    fresh: bool = False
    batches: int = 4

    def __post_init__(self) -> None:
        """Refuse too few batches for the jackknife."""
        refuse_few_batches(self.batches, "MomentumCosine")

    @property
    def units(self) -> dict[str, str]:
        """Of every name."""
        own = {"momentum_cosine": "cosine of the first moment with the batch's gradient"}
        whole = {"fresh_momentum_cosine": "cosine of the first moment with the whole gradient"}
        return own | whole if self.fresh else own

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"grad": 1 + self.batches * self.fresh}

    @property
    def caveat(self) -> str:
        """When it misleads."""
        if self.fresh:
            return "Only the fresh one is free of noise and of the gradient that the moment holds already."
        return (
            "The moment holds the present gradient, and the batch's noise lowers the cosine: small batches hide "
            "agreement, and a cosine of zero or below is more telling than one above."
        )

    def __call__(self, p: Point) -> dict[str, float]:
        """`momentum_cosine` and, with `fresh`, `fresh_momentum_cosine` with its error; each for every tensor too."""
        m = _first_moment(p)
        names = ["", *(f"/{k}" for k in m)]
        dots, grams = _inner_products(m, [p])
        size = _with_whole(torch.stack([_dot(x, x) for x in m.values()]).cpu().double()).sqrt()
        cosine = dots[:, 0] / (size * grams[:, 0, 0].sqrt())
        found = {f"momentum_cosine{k}": x for k, x in zip(names, cosine.tolist(), strict=True)}
        if self.fresh:
            others = (p.fresh(f"momentum cosine/{i}") for i in range(self.batches))
            value, error = _jackknife(*_inner_products(m, others), size)
            found |= {f"fresh_momentum_cosine{k}": x for k, x in zip(names, value.tolist(), strict=True)}
            found |= {f"fresh_momentum_cosine_error{k}": x for k, x in zip(names, error.tolist(), strict=True)}
        return found

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The cosine with `H w`."""
        m, g = tree.flat(_first_moment(p)), h @ tree.flat(p.w)
        return {"momentum_cosine": float(m @ g / (m.norm() * g.norm()))}


def _first_moment(p: Point) -> Params:
    moments = optimizer(p, "MomentumCosine").moments(p.s, p.w)
    held = {k for m in moments if m.kind == FIRST and not m.units for k in m.value}
    found = Live(moments).claim(FIRST, {k: x for k, x in p.w.items() if k in held})
    if found is None:
        raise ValueError(
            "MomentumCosine: the optimizer holds no average of gradients, which it measures; use one with momentum, "
            "after its first step, or leave the probe out."
        )
    return found.value


def _inner_products(m: Params, points: Iterable[Point]) -> tuple[Tensor, Tensor]:
    """`<m, g_i>`, `[1 + tensors, n]`, and `<g_i, g_j>`, `[1 + tensors, n, n]`, of all together first; on the host."""
    grads = [p.grad for p in points]
    n = len(grads)
    rows = [torch.stack([g[k].to(_wide(x)).reshape(-1) for g in grads]) for k, x in m.items()]
    dots = [r @ x.to(r.dtype).reshape(-1) for r, x in zip(rows, m.values(), strict=True)]
    found = torch.cat([torch.stack(dots).flatten(), torch.stack([r @ r.T for r in rows]).flatten()]).cpu().double()
    return _with_whole(found[: len(m) * n].view(-1, n)), _with_whole(found[len(m) * n :].view(-1, n, n))


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return torch.vdot(x.to(_wide(x)).reshape(-1), y.to(_wide(y)).reshape(-1))


def _with_whole(x: Tensor) -> Tensor:
    """The sum over tensors, put before them."""
    return torch.cat([x.sum(0, keepdim=True), x])


def _jackknife(dots: Tensor, grams: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine and its standard error, from all batches and from all but one."""
    n = dots.shape[1]
    kept = ~torch.eye(n, dtype=torch.bool)
    whole = _cosine(dots, grams, size)
    without = torch.stack([_cosine(dots[:, k], grams[:, k][:, :, k], size) for k in kept])
    return whole, jackknife_error(without)


def _cosine(dots: Tensor, grams: Tensor, size: Tensor) -> Tensor:
    n = dots.shape[1]
    pairs = (grams.sum((1, 2)) - grams.diagonal(dim1=1, dim2=2).sum(1)) / (n * (n - 1))
    return dots.mean(1) / (size * pairs.sqrt())  # the root of a negative number is NaN
