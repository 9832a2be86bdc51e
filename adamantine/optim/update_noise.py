"""Noise that stays in the weights, measured in nats of what a policy or a classifier says."""

import fnmatch
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch

from adamantine.optim import limits
from adamantine.optim.predictions import distributions, divergence
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.tree import Params

LEAST = 1e-12


@dataclass(frozen=True)
class UpdateNoise(Part):
    """`u + size * n`, with normal noise `n` for the tensors called `names`, so that the noise alone costs `nats`.

    The size is found as in `KlStep`: divergence grows with its square, and it is corrected by `trials` forward passes a
    step, from the size of the step before. With the `gate` "silent" there is noise only where all rewards of the batch,
    `batch["reward"]`, are the same. Behind the rate. The state counts the nats spent, as
    measured at the size that is used. Where a task has no `distribution`, its predictions are taken for means of normal
    distributions of variance one.
    """

    nats: float = 1e-4
    gate: Literal["always", "silent"] = "always"
    names: str = "*"
    trials: int = 2
    symmetry: ClassVar[str] = "none"
    local: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits.nonnegative(self, nats=self.nats)
        limits.choice(self, get_args(Literal["always", "silent"]), gate=self.gate)
        limits.whole(self, trials=self.trials)

    def init(self, w: Params) -> State:
        """A size to start from, and nothing spent."""
        first = next(iter(w.values()))
        return torch.full((), 1e-3, dtype=first.dtype, device=first.device), torch.zeros((), dtype=torch.float64)

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """The direction with noise, and what it cost."""
        size, spent = s
        chosen = [k for k in u if fnmatch.fnmatchcase(k, self.names)]
        if not chosen or not self.nats or not self._open(p):
            return u, s
        noise = {k: torch.randn(u[k].shape, generator=p.rng(f"update noise/{k}"), dtype=u[k].dtype) for k in chosen}
        noise = {k: x.to(u[k].device) for k, x in noise.items()}
        with torch.no_grad():
            old = distributions(p, p.w)
            for _ in range(self.trials):
                cost = divergence(old, distributions(p, {**p.w, **{k: p.w[k] - size * noise[k] for k in chosen}}))
                size = size * (self.nats / cost.clamp_min(LEAST)).sqrt().clamp(0.1, 10.0).to(size.dtype)
            cost = divergence(old, distributions(p, {**p.w, **{k: p.w[k] - size * noise[k] for k in chosen}}))
        return {k: x + size * noise[k] if k in noise else x for k, x in u.items()}, (size, spent + cost.to(spent))

    def _open(self, p: Point) -> bool:
        if self.gate == "always":
            return True
        if not isinstance(p.batch, dict) or "reward" not in p.batch:
            raise ValueError(
                f'UpdateNoise: the batches of {type(p.task).__name__} have no rewards, which the gate "silent" looks '
                'at; give gate="always".'
            )
        r = p.batch["reward"]
        return bool((r == r.reshape(-1)[0]).all())

    def state_bytes(self, w: Params) -> int:
        """Two numbers."""
        first = next(iter(w.values()))
        return first.element_size() + 8
