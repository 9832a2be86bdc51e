"""Proximal policy optimization as the single-file implementations have it: one agent, Gymnasium's vector environment,
`torch.nn` networks, `torch.distributions`, `torch.optim.Adam`. Written from the description in Huang et al. (2022).
"""

import warnings

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical


def layer(inputs, outputs, gain=2**0.5):
    found = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(found.weight, gain)
    nn.init.zeros_(found.bias)
    return found


def tower(inputs, outputs, gain):
    return nn.Sequential(layer(inputs, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, outputs, gain))


def train(total, seed=0, envs=4, horizon=128, epochs=4, minibatches=4, rate=2.5e-4, gamma=0.99, lam=0.95):
    """Steps in the world, and the mean return of the last hundred episodes."""
    torch.manual_seed(seed)
    drawn = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world = gymnasium.vector.SyncVectorEnv(
            [lambda: gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("CartPole-v1")) for _ in range(envs)],
            autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
        )
    actor, critic = tower(4, 2, 0.01), tower(4, 1, 1.0)
    params = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(params, lr=rate, eps=1e-5)
    rollouts = total // (envs * horizon)
    observed, done = torch.tensor(world.reset(seed=seed)[0]), torch.zeros(envs)
    running, finished = np.zeros(envs), []
    x, a = torch.zeros(horizon, envs, 4), torch.zeros(horizon, envs)
    logs, rewards, dones, values = (torch.zeros(horizon, envs) for _ in range(4))
    for k in range(rollouts):
        optimizer.param_groups[0]["lr"] = rate * (1 - k / rollouts)
        for t in range(horizon):
            x[t], dones[t] = observed, done
            with torch.no_grad():
                policy = Categorical(logits=actor(observed))
                action = policy.sample()
                values[t], logs[t], a[t] = critic(observed).flatten(), policy.log_prob(action), action
            after, reward, ended, cut, _ = world.step(action.numpy())
            running += reward
            over = np.logical_or(ended, cut)
            finished += running[over].tolist()
            running[over] = 0
            observed, done = torch.tensor(after), torch.tensor(over, dtype=torch.float32)
            rewards[t] = torch.tensor(reward)
        with torch.no_grad():
            following = critic(observed).flatten()
            advantages, last = torch.zeros(horizon, envs), torch.zeros(envs)
            for t in reversed(range(horizon)):
                on = 1 - (done if t == horizon - 1 else dones[t + 1])
                delta = rewards[t] + gamma * (following if t == horizon - 1 else values[t + 1]) * on - values[t]
                advantages[t] = last = delta + gamma * lam * on * last
            targets = advantages + values
        flat = [y.reshape(-1, *y.shape[2:]) for y in (x, a, logs, advantages, targets, values)]
        order, size = np.arange(envs * horizon), envs * horizon // minibatches
        for _ in range(epochs):
            drawn.shuffle(order)
            for start in range(0, len(order), size):
                bx, ba, bl, badv, bt, bv = (y[order[start : start + size]] for y in flat)
                policy = Categorical(logits=actor(bx))
                ratio = (policy.log_prob(ba) - bl).exp()
                badv = (badv - badv.mean()) / (badv.std() + 1e-8)
                surrogate = torch.max(-badv * ratio, -badv * torch.clamp(ratio, 0.8, 1.2)).mean()
                new = critic(bx).flatten()
                near = bv + torch.clamp(new - bv, -0.2, 0.2)
                value = 0.5 * torch.max((new - bt) ** 2, (near - bt) ** 2).mean()
                loss = surrogate - 0.01 * policy.entropy().mean() + 0.5 * value
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(params, 0.5)
                optimizer.step()
    world.close()
    return rollouts * envs * horizon, float(np.mean(finished[-100:]))
