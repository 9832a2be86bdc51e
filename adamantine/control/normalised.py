"""Observations and rewards on a scale of one, by statistics of all that an agent has met so far."""

from typing import Any

import numpy as np
import torch

from adamantine.control.world import Array

BOUND = 10.0


class Moments:
    """Running mean and variance of `[S, ...]` numbers for each of `S` agents (Chan, Golub & LeVeque 1983).

    The count begins at 1e-4 with mean 0 and variance 1, as in Gymnasium's `RunningMeanStd`.
    """

    def __init__(self, agents: int, *shape: int) -> None:
        self.mean, self.var, self.count = np.zeros((agents, *shape)), np.ones((agents, *shape)), 1e-4

    def add(self, x: Array) -> None:
        """Take in `[S, n, ...]`, `n` samples of each agent."""
        n, mean, var = x.shape[1], x.mean(1, dtype=np.float64), x.var(1, dtype=np.float64)
        total, apart = self.count + n, mean - self.mean
        self.mean = self.mean + apart * (n / total)
        square = self.var * self.count + var * n + apart * apart * (self.count * n / total)
        self.var, self.count = square / total, total

    def state_dict(self) -> dict[str, Any]:
        """What has been counted."""
        return {"mean": torch.from_numpy(self.mean), "var": torch.from_numpy(self.var), "count": self.count}

    def load_state_dict(self, held: dict[str, Any]) -> None:
        """Go on from `held`."""
        self.mean, self.var, self.count = held["mean"].cpu().numpy(), held["var"].cpu().numpy(), held["count"]


class Normalised:
    """What PPO on robots does to what it sees: `(x - mean) / std` of observations, rewards over the std of returns.

    The return that scales rewards is `R <- gamma R + r`, set to zero where an episode is over. Both are cut off at 10
    times the scale. Copies of one agent share statistics; agents do not.
    """

    def __init__(self, agents: int, copies: int, observations: int, gamma: float) -> None:
        self.gamma, self.running = gamma, np.zeros((agents, copies))
        self.seen, self.returns = Moments(agents, observations), Moments(agents)

    def observation(self, x: Array, count: bool = True) -> Array:
        """Observations `[S, n, d]` normalised, float32, counted first if so wanted."""
        if count:
            self.seen.add(x)
        scaled = (x - self.seen.mean[:, None]) / np.sqrt(self.seen.var[:, None] + 1e-8)
        return np.clip(scaled, -BOUND, BOUND).astype(np.float32)

    def reward(self, r: Array, over: Array, count: bool = True) -> Array:
        """Rewards `[S, n]` scaled."""
        if count:
            self.running = self.running * self.gamma + r
            self.returns.add(self.running)
            self.running = np.where(over, 0.0, self.running)
        return np.clip(r / np.sqrt(self.returns.var[:, None] + 1e-8), -BOUND, BOUND)

    def state_dict(self) -> dict[str, Any]:
        """The statistics and the running returns."""
        parts = {"seen": self.seen.state_dict(), "returns": self.returns.state_dict()}
        return {**parts, "running": torch.from_numpy(self.running)}

    def load_state_dict(self, held: dict[str, Any]) -> None:
        """Go on from `held`."""
        self.seen.load_state_dict(held["seen"])
        self.returns.load_state_dict(held["returns"])
        self.running = held["running"].cpu().numpy()
