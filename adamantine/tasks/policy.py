"""What an actor's outputs mean: probabilities of discrete actions, or normal distributions of continuous ones.

Outputs are `[..., n, A]` for `n` states, also of many agents at once `[S, n, A]`; for continuous actions they are the
means, and the logarithm of the standard deviation is a parameter of its own, the same in all states.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal

HALF_LOG_2PI = 0.9189385332046727


@dataclass(frozen=True)
class Discrete:
    """One of `actions`, by a softmax of the outputs."""

    actions: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one action."""
        return ()

    def noise(self, rng: torch.Generator, *shape: int) -> Tensor:
        """Gumbel noise `[*shape, actions]`."""
        return -torch.log(-torch.log(torch.rand(*shape, self.actions, generator=rng)))

    def act(self, outputs: Tensor, log_std: Tensor | None, noise: Tensor) -> Tensor:
        """A sample: where logits and Gumbel noise are largest together."""
        return (outputs + noise).argmax(-1)

    def log_prob(self, outputs: Tensor, log_std: Tensor | None, action: Tensor) -> Tensor:
        """Of the actions `[..., n]`, in nats."""
        return torch.log_softmax(outputs, -1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def log_prob_and_entropy(self, outputs: Tensor, log_std: Tensor | None, action: Tensor) -> tuple[Tensor, Tensor]:
        """Both, `[..., n]`, in nats."""
        logs = torch.log_softmax(outputs, -1)
        return logs.gather(-1, action.unsqueeze(-1)).squeeze(-1), -(logs.exp() * logs).sum(-1)

    def distribution(self, outputs: Tensor, log_std: Tensor | None) -> Distribution:
        """Of the action in every state."""
        return Categorical(logits=outputs, validate_args=False)


@dataclass(frozen=True)
class Gaussian:
    """`size` independent normal numbers."""

    size: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one action."""
        return (self.size,)

    def noise(self, rng: torch.Generator, *shape: int) -> Tensor:
        """Standard normal `[*shape, size]`."""
        return torch.randn(*shape, self.size, generator=rng)

    def act(self, outputs: Tensor, log_std: Tensor | None, noise: Tensor) -> Tensor:
        """A sample."""
        return outputs + noise * _wide(log_std).exp()

    def log_prob(self, outputs: Tensor, log_std: Tensor | None, action: Tensor) -> Tensor:
        """Of the actions `[..., n, size]`, in nats, `[..., n]`."""
        scaled = (action - outputs) * (-_wide(log_std)).exp()
        return (-0.5 * scaled.square() - _wide(log_std) - HALF_LOG_2PI).sum(-1)

    def log_prob_and_entropy(self, outputs: Tensor, log_std: Tensor | None, action: Tensor) -> tuple[Tensor, Tensor]:
        """Both, `[..., n]`, in nats."""
        entropy = (_wide(log_std) + 0.5 + HALF_LOG_2PI).sum(-1)
        found = self.log_prob(outputs, log_std, action)
        return found, entropy.expand_as(found)

    def distribution(self, outputs: Tensor, log_std: Tensor | None) -> Distribution:
        """Of the action in every state."""
        return Independent(Normal(outputs, _wide(log_std).exp().expand_as(outputs), validate_args=False), 1, False)


Policy = Discrete | Gaussian


def _wide(log_std: Tensor | None) -> Tensor:
    """`[..., 1, size]`, the same for all states."""
    assert log_std is not None
    return log_std.unsqueeze(-2)
