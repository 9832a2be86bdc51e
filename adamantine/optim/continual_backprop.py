"""Continual backpropagation (Dohare et al., Nature 2024, arXiv:2306.13812): a steady trickle of fresh units."""

from dataclasses import dataclass

import torch
from torch import Tensor

from adamantine.optim import limits
from adamantine.optim.adam import adam
from adamantine.optim.units import activations, forgotten, replaced
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params, add


@dataclass(frozen=True)
class Continual(Part):
    """`inner`, and each step a share `rate` of the hidden units older than `maturity` steps is made fresh.

    The units with the least utility are: the average, by `beta`, of `mean |h| * sum |outgoing weights|`. Shares below
    one unit add up over steps. The moments that `inner` holds of their weights are set to zero. A whole optimizer, with
    its rate. ValueError where the task has no `activations`.
    """

    inner: Part = adam(1e-3)
    rate: float = 1e-4
    maturity: int = 100
    beta: float = 0.99

    def __post_init__(self) -> None:
        limits.part(self, inner=self.inner)
        limits.nonnegative(self, rate=self.rate)
        limits.whole(self, maturity=self.maturity)
        limits.betas(self, beta=self.beta)

    @property
    def symmetry(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's, while no unit is replaced."""
        return self.inner.symmetry

    @property
    def local(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the inner part is, while no unit is replaced."""
        return self.inner.local

    @property
    def gradients(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The inner part's."""
        return self.inner.gradients

    def init(self, w: Params) -> State:
        """The inner part's; nothing is known of units yet."""
        return self.inner.init(w), {}

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The inner step, and behind it the replacement of the least useful units."""
        u, inner = self.inner.update(u, s[0], p)
        units, masks, here = {}, {}, {k: p.w[k] for k in u}
        for (maker, reader), h in activations(p, "Continual").items():
            key = f"{maker}>{reader}"
            size = h.abs().mean(0)
            utility, age, due = s[1].get(key, (torch.zeros_like(size), torch.zeros_like(size), 0.0))
            leaving = p.w[f"{reader}.weight"].abs().sum(0) if f"{reader}.weight" in p.w else 1.0
            utility, age = self.beta * utility + (1 - self.beta) * size * leaving, age + 1
            mask, due = self._least(utility / (1 - self.beta**age), age, due)
            units[key] = torch.where(mask, 0.0, utility), torch.where(mask, 0.0, age), due
            masks[maker, reader] = mask
        if not any(bool(mask.any()) for mask in masks.values()):
            return u, (inner, units)
        new, changed = replaced(p, masks, add(here, u, -1.0), "fresh units")
        return add(here, new, -1.0), (forgotten(inner, changed), units)

    def _least(self, utility: Tensor, age: Tensor, due: float) -> tuple[Tensor, float]:
        """Which units to replace, and what share of one is left for later."""
        mature = age > self.maturity
        due += self.rate * float(mature.sum())
        count = min(int(due), int(mature.sum()))
        mask = torch.zeros_like(mature)
        if count:
            mask[torch.where(mature, utility, torch.inf).topk(count, largest=False).indices] = True
        return mask, due - count

    def read(self, w: Params, s: State) -> Params:
        """As the inner part reads."""
        return self.inner.read(w, s[0])

    def renew(self, s: State, p: Point) -> State:
        """As the inner part renews."""
        return self.inner.renew(s[0], p), s[1]

    def state_bytes(self, w: Params) -> int:
        """The inner part's; what is known of units is small beside it."""
        return self.inner.state_bytes(w)
