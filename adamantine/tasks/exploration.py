"""Noise for exploration, measured in nats: how far the policy that acts diverges from the one that is trained.

Noise in the weights of a copy that acts (after Plappert et al., arXiv:1706.01905, and Fortunato et al.,
arXiv:1706.10295), or in its actions: mixed with uniform ones, or normal ones made wider. Either is scaled so that the
mean divergence over states, `KL(trained || acting)`, is what was asked for, and the two can be compared at equal spend.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from adamantine.tasks.policy import Discrete, Gaussian, Policy
from adamantine.tree import Params

TRIALS = 14
HALVINGS = 40


def divergence(policy: Policy, old: tuple[Tensor, Tensor | None], new: tuple[Tensor, Tensor | None]) -> Tensor:
    """Mean over states of `KL(old || new)` for each agent, `[S]`, in nats, from the actor's outputs `[S, n, A]`."""
    if isinstance(policy, Discrete):
        a, b = torch.log_softmax(old[0], -1), torch.log_softmax(new[0], -1)
        return (a.exp() * (a - b)).sum(-1).mean(-1)
    s, t = (x.unsqueeze(-2) for x in (old[1], new[1]) if x is not None)
    apart = (old[0] - new[0]).square() + (2 * s).exp()
    return (t - s + apart / (2 * (2 * t).exp()) - 0.5).sum(-1).mean(-1)


def stirred(
    acting: Callable[[Params, Tensor], tuple[Tensor, Tensor | None]],
    policy: Policy,
    w: Params,
    x: Tensor,
    rngs: Sequence[torch.Generator],
    nats: Tensor,
) -> Params:
    """Actors with normal noise in all weights, so that they diverge by `nats [S]` in the states `x [S, n, d]`.

    Divergence grows with the square of the noise where that is small; its size is corrected by trial.
    """
    noise = {k: torch.stack([torch.randn(v.shape[1:], generator=g) for g in rngs]).to(v) for k, v in w.items()}
    here, size = acting(w, x), torch.full((len(rngs),), 0.01, dtype=x.dtype)
    for _ in range(TRIALS):
        there = acting(_moved(w, noise, size), x)
        factor = (nats / divergence(policy, here, there).clamp_min(1e-12)).sqrt()
        size = size * factor.clamp(0.1, 10.0)
    return _moved(w, noise, size)


def _moved(w: Params, noise: Params, size: Tensor) -> Params:
    return {k: v + noise[k] * size.reshape(-1, *[1] * (v.ndim - 1)) for k, v in w.items()}


def widened(policy: Policy, outputs: tuple[Tensor, Tensor | None], nats: Tensor) -> Tensor:
    """How much of uniform actions to mix in, or by what factor to widen, so that policies diverge by `nats [S]`.

    A policy that is nearly uniform cannot diverge so much from a mixture with uniform actions: it then acts at random.
    """
    if isinstance(policy, Gaussian):
        low, high = torch.zeros_like(nats), torch.full_like(nats, 20.0)  # logarithms of the factor
        wanted = nats / policy.size

        def spent(size: Tensor) -> Tensor:
            return size + (-2 * size).exp() / 2 - 0.5

    else:
        low, high, wanted = torch.zeros_like(nats), torch.ones_like(nats) - 1e-6, nats

        def spent(size: Tensor) -> Tensor:
            return divergence(policy, outputs, mixed(policy, outputs, size))

    for _ in range(HALVINGS):
        middle = (low + high) / 2
        more = spent(middle) < wanted
        low, high = torch.where(more, middle, low), torch.where(more, high, middle)
    return (low + high) / 2


def mixed(policy: Policy, outputs: tuple[Tensor, Tensor | None], size: Tensor) -> tuple[Tensor, Tensor | None]:
    """The outputs of the policy with the noise `size [S]` of `widened`."""
    logits, log_std = outputs
    if log_std is not None:
        return logits, log_std + size.unsqueeze(-1)
    share = size[:, None, None]
    uniform = math.log(1 / logits.shape[-1])
    plain = torch.log_softmax(logits, -1) + torch.log1p(-share)
    return torch.logaddexp(plain, uniform + torch.log(share.clamp_min(1e-30))), None
