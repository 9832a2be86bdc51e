"""Steps of a given size in nats (after Sharifnassab et al., arXiv:2604.19033, who bound a policy's change a step)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.predictions import distributions, divergence
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params

FARTHEST = 1e3  # by which one trial may change the scale: a divergence of almost nothing tells little


@dataclass(frozen=True)
class KlStep(Part):
    """`c u` with `KL(now || after the step) = nats`, the mean over the batch of the task's `distribution`.

    Divergences of small steps grow with their square: of a step with the scale `c` the divergence `k` is found, by one
    forward pass, and the scale becomes `c sqrt(nats / k)`; so `trials` times, from the scale of the step before, every
    `every` steps, between which the scale stays. The length of `u` matters only between those. Last in a chain, for the
    tensors of a policy or a classifier, and instead of a rate. Where a task has no `distribution`, its `values`, or
    else its losses, are taken for the means of normal distributions of variance one.
    """

    nats: float = 1e-4
    every: int = 1
    trials: int = 2
    symmetry: ClassVar[str] = "rotation"
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.positive(self, nats=self.nats)
        limits.whole(self, every=self.every, trials=self.trials)

    def init(self, w: Params) -> State:
        """`t = 0`, `c = 1`."""
        like = next(iter(w.values()), torch.zeros(()))
        return 0, like.new_ones(())

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The scaled direction."""
        t, size = s
        if t % self.every == 0:
            with torch.no_grad():
                size = self._found(u, size, p)
        return {k: x * size for k, x in u.items()}, (t + 1, size)

    def _found(self, u: Params, size: Tensor, p: Point) -> Tensor:
        now = distributions(p, p.w)
        for _ in range(self.trials):
            after = {k: x - size * u[k] if k in u else x for k, x in p.w.items()}
            nats = divergence(now, distributions(p, after))
            told = (nats > 0) & nats.isfinite()
            change = (self.nats / torch.where(told, nats, self.nats)).sqrt().clamp(1 / FARTHEST, FARTHEST)
            size = size * torch.where(nats.isfinite(), change, 1 / FARTHEST)
        return size.to(next(iter(u.values())))

    def state_bytes(self, w: Params) -> int:
        """One number."""
        return next(iter(w.values()), torch.zeros(())).element_size()
