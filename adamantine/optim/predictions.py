"""What a task predicts and errs at other weights, as a part sees them, for steps that are measured in outputs.

Tasks say it by the optional methods `values`, `errors` and `distribution`. Where a task has none of `values` and
`errors`, its losses are the values and 0 their target. Where it has no `distribution`, values are the means of normal
distributions of variance one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.distributions import Categorical, Distribution, Normal, kl_divergence

from adamantine.jacobian import each_dot
from adamantine.pieces import pieces
from adamantine.point import Point
from adamantine.tree import Params

Asked = Callable[[Params, Any], Any]


def predicted(p: Point) -> Asked:
    """The task's `values`, or its losses."""
    return p.task.values if _tells_errors(p) else p.task.losses  # pyright: ignore[reportAttributeAccessIssue]


def values(p: Point, w: Params) -> Tensor:
    """The predictions at `w` for all examples of the point's batch, `[B]`, or their losses."""
    own = predicted(p)
    return torch.cat([own(w, batch).reshape(-1) for batch in pieces(p.batch)])


def moved(p: Point, u: Params) -> Tensor:
    """`J u`, how fast the predictions at the point move along `u`, `[B]`, by two backward passes."""
    p.cost["each_dot"] += 1
    own, here = predicted(p), {k: p.w[k] for k in u}
    if not transformed(here):
        return each_dot(lambda w, batch: own({**p.w, **w}, batch), here, pieces(p.batch), u)
    y, pull = torch.func.vjp(lambda w: values(p, {**p.w, **w}), here)[:2]
    return torch.func.vjp(lambda y: pull(y)[0], torch.zeros_like(y))[1](u)[0].detach()


def gradient(p: Point, w: Params) -> Params:
    """Gradient of the mean loss over the point's batch at the weights `w`."""
    if not transformed(w):
        return p.at(w).grad
    p.cost["grad"] += 1
    found = torch.func.grad(lambda w: torch.cat([p.task.losses(w, b).reshape(-1) for b in pieces(p.batch)]).mean())
    return {k: x.detach() for k, x in found(w).items()}


def transformed(w: Params) -> bool:
    """Whether these are tensors inside `torch.func.vmap` or the like, which allow no autograd but `torch.func`'s."""
    return any(is_functorch_wrapped_tensor(x) for x in w.values())


def errors(p: Point) -> Tensor:
    """Target less prediction for all examples, `[B]`, or less than nothing by the loss."""
    with torch.no_grad():
        if not _tells_errors(p):
            return -values(p, p.w)
        own = p.task.errors  # pyright: ignore[reportAttributeAccessIssue]
        return torch.cat([own(p.w, batch).reshape(-1) for batch in pieces(p.batch)])


def _tells_errors(p: Point) -> bool:
    """Errors without the values that they are of, or the reverse, tell nothing."""
    return hasattr(p.task, "values") and hasattr(p.task, "errors")


def distributions(p: Point, w: Params) -> list[Distribution]:
    """What the task draws from at `w`, for each piece of the batch."""
    own = getattr(p.task, "distribution", None)
    if own is not None:
        return [own(w, batch) for batch in pieces(p.batch)]
    x = values(p, w)
    return [Normal(x, torch.ones_like(x), validate_args=False)]


def divergence(old: list[Distribution], new: list[Distribution]) -> Tensor:
    """Mean over the examples of the Kullback-Leibler divergence of `new` from `old`, in nats."""
    found = [_divergence(a, b) for a, b in zip(old, new, strict=True)]
    return torch.cat([x.reshape(x.shape[0], -1).sum(1) for x in found]).mean()


def _divergence(a: Distribution, b: Distribution) -> Tensor:
    if not (isinstance(a, Categorical) and isinstance(b, Categorical)):
        return kl_divergence(a, b)
    # torch's masks in place, which `vmap` cannot. The sum of p (log p - log q) - p + q has no terms below zero, and
    # keeps small divergences apart from rounding.
    apart = a.logits - b.logits
    terms = a.probs * (apart + torch.expm1(-apart))
    return torch.where(a.probs > 0, terms, b.probs).sum(-1)
