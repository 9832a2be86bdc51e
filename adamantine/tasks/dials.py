"""A regression with dials: drift, noise, feedback, delay, sparsity and bootstrapping, each set exactly.

What reinforcement learning adds to supervised learning, one thing at a time, on a problem whose gradient, noise and
drift are known in closed form, so that estimates of them can be held against the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from adamantine.point import Draw, stream
from adamantine.role import Tag, Tags
from adamantine.tasks.alone import Alone
from adamantine.tree import Params

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Dials:
    """Half the squared error of `x . w` against `t . x + noise n`, with `x` normal, and for the target weights `t`

        t = (1 - bootstrap) theta + bootstrap w',    x ~ N(feedback w', I),

    where `w'` are the weights at the last renewal, every `period` steps, and `theta` then moves by the length `drift`
    in a random direction ("walk") or always the same ("line"). An example is the sum over `delay` inputs of one target,
    divided by `sqrt(delay)`; its reward comes with the last of them. Only a share `density` of examples has a target,
    the others a loss of 0. Batches are `x [B, dim], y [B], seen [B], reward [B, delay]`; `held_out` examples are drawn
    besides at each renewal. All of theta's way is given by `seed`. ValueError where the numbers do not fit.
    """

    dim: int = 16
    batch: int = 32
    period: int = 16
    drift: float = 0.0
    kind: Literal["walk", "line"] = "walk"
    noise: float = 1.0
    feedback: float = 0.0
    delay: int = 1
    density: float = 1.0
    bootstrap: float = 0.0
    held_out: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if min(self.dim, self.batch, self.period, self.delay) < 1 or self.held_out < 0 or self.held_out % 2:
            raise ValueError("Dials: sizes and periods are at least 1, held_out an even number.")
        if min(self.drift, self.noise) < 0 or not 0 < self.density <= 1 or not 0 <= self.bootstrap < 1:
            raise ValueError("Dials: drift and noise are not negative; density lies in (0, 1], bootstrap in [0, 1).")
        if self.kind not in get_args(Literal["walk", "line"]):
            raise ValueError(f'Dials: kind is {self.kind!r}; it is "walk" or "line".')

    def init(self, rng: torch.Generator) -> Params:
        """At zero."""
        return {"w": torch.zeros(self.dim)}

    def tags(self) -> Tags:
        """The weights are the head: one output of all inputs."""
        return Tags((("w", Tag("head")),))

    def source(self, rng: torch.Generator) -> Draw:
        """An endless stream; a move of theta, `w'` or the inputs is a renewal."""
        return Alone(self.sources([rng]))

    def sources(self, rngs: Sequence[torch.Generator]) -> "Stream":
        """The same for a stack of runs."""
        return Stream(self, rngs)

    def theta(self, renewals: int) -> Tensor:
        """Where it is after so many renewals, `[dim]`; of length 1 at the first."""
        if renewals < 2:
            return _direction(self.seed, self.dim, 0)
        moves = (1 if self.kind == "line" else k for k in range(1, renewals))
        way = torch.stack([_direction(self.seed, self.dim, k) for k in moves]).sum(0)
        return _direction(self.seed, self.dim, 0) + self.drift * way

    def gradient(self, w: Tensor, renewals: int, frozen: Tensor) -> Tensor:
        """The expected gradient, `density (I + m m') (w - t)` with `m = sqrt(delay) feedback w'`, `[dim]`."""
        apart = w - self._target(renewals, frozen)
        mean = self.delay**0.5 * self.feedback * frozen
        return self.density * (apart + mean * (mean @ apart))

    def variance(self, w: Tensor, renewals: int, frozen: Tensor) -> float:
        """Trace of the covariance of one example's gradient. ValueError with feedback, for which it is not told."""
        if self.feedback:
            raise ValueError("Dials: the variance of gradients is told without feedback only.")
        square = float((w - self._target(renewals, frozen)).square().sum())
        return self.density * ((self.dim + 2 - self.density) * square + self.dim * self.noise**2)

    def _target(self, renewals: int, frozen: Tensor) -> Tensor:
        return (1 - self.bootstrap) * self.theta(renewals).to(frozen) + self.bootstrap * frozen

    def losses(self, w: Params, batch: Batch) -> Tensor:
        """Half the squared error, `[B]` (or `[S, B]`)."""
        return 0.5 * self.errors(w, batch).square()

    def values(self, w: Params, batch: Batch) -> Tensor:
        """Predictions, `[B]`."""
        return (batch["x"] @ w["w"].unsqueeze(-1)).squeeze(-1)

    def errors(self, w: Params, batch: Batch) -> Tensor:
        """Target less prediction, 0 where no target is seen, `[B]`."""
        return batch["seen"] * (batch["y"] - self.values(w, batch))

    def distribution(self, w: Params, batch: Batch) -> Distribution:
        """Normal, of variance 1, about the prediction."""
        mean = self.values(w, batch)
        return Normal(mean, torch.ones_like(mean), validate_args=False)

    def score(self, w: Params) -> dict[str, float]:
        """`held_out` loss at the first theta: 4,096 examples without noise."""
        x = torch.randn(4096, self.dim, generator=stream(self.seed, "held out"), dtype=torch.float64)
        apart = w["w"].cpu().double() - self.theta(1)
        return {"held_out": float(0.5 * (x @ apart).square().mean())}


@cache
def _direction(seed: int, dim: int, k: int) -> Tensor:
    """A random vector of length 1: the k-th of the walk."""
    x = torch.randn(dim, generator=stream(seed, f"theta/{k}"), dtype=torch.float64)
    return x / x.norm()


class Stream:
    """Batches for a stack of runs; all randomness of a run comes from its own generator."""

    def __init__(self, task: Dials, rngs: Sequence[torch.Generator]) -> None:
        self.task, self.rngs, self.renewals, self.at = task, rngs, 0, 0
        self.apart = [torch.Generator().manual_seed(g.initial_seed() ^ 0x5EED) for g in rngs]
        self.frozen = torch.zeros(len(rngs), task.dim, dtype=torch.float64)
        self.held_out: Batch | None = None

    def __call__(self, w: Params) -> Batch:
        """The next batch."""
        if self.at % self.task.period == 0:
            self.frozen = w["w"].detach().cpu().double().clone()
            self.renewals += 1
            self.held_out = self._drawn(self.apart, self.task.held_out) if self.task.held_out else None
        self.at += 1
        return self._drawn(self.rngs, self.task.batch)

    def _drawn(self, rngs: Sequence[torch.Generator], n: int) -> Batch:
        t = self.task
        x = torch.stack([torch.randn(n, t.delay, t.dim, generator=g) for g in rngs]).double()
        x = (x + t.feedback * self.frozen[:, None, None]).sum(2) / t.delay**0.5
        noise = torch.stack([torch.randn(n, generator=g) for g in rngs]).double()
        seen = torch.stack([torch.rand(n, generator=g) for g in rngs]) < t.density
        target = (1 - t.bootstrap) * t.theta(self.renewals) + t.bootstrap * self.frozen
        y = (x @ target.unsqueeze(-1)).squeeze(-1) + t.noise * noise
        reward = torch.zeros(len(rngs), n, t.delay)
        reward[..., -1] = torch.where(seen, y, 0.0)
        found: dict[str, Any] = {"x": x, "y": y, "seen": seen, "reward": reward}
        return {k: v.float() for k, v in found.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything but the runs' generators."""
        apart = [g.get_state() for g in self.apart]
        return {"counts": (self.renewals, self.at), "frozen": self.frozen, "apart": apart, "held_out": self.held_out}

    def load_state_dict(self, held: dict[str, Any]) -> None:
        """Go on from `held`."""
        (self.renewals, self.at), self.frozen, self.held_out = held["counts"], held["frozen"], held["held_out"]
        for g, state in zip(self.apart, held["apart"], strict=True):
            g.set_state(state.cpu())

    def told(self) -> dict[str, Any]:
        """Nothing that the rows do not say."""
        return {}
