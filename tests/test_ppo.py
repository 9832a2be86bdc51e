"""Proximal policy optimization: returns and advantages in closed form, stacks equal to single agents, bad input."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import torch

from adamantine import tree
from adamantine.control.cart_pole import CartPole
from adamantine.control.normalised import Moments, Normalised
from adamantine.optim.adam import adam
from adamantine.point import Point, stream
from adamantine.run import Row, Run
from adamantine.tasks.policy import Discrete, Gaussian
from adamantine.tasks.ppo import PPO


@dataclasses.dataclass(frozen=True)
class Clock:
    """A world that tells the time: reward 1 a step, an end after `end` steps or a cut after `limit`."""

    limit: int = 5
    end: int = 1000
    size: int = 0
    actions: int = 2
    observations: ClassVar[int] = 1
    uniforms: ClassVar[int] = 1

    def start(self, u):
        return np.zeros((len(u), 1))

    def step(self, state, action, clock):
        return state + 1, np.ones(len(state)), state[:, 0] + 1 >= self.end

    def observe(self, state):
        return state.astype(np.float32)


def rollout(task, seed=0):
    """Weights of a random critic, and the whole rollout in order, `[T, N]`."""
    w = tree.place(task.init(stream(seed, "init")), "cpu", torch.float64)
    draw = task.source(stream(seed, "data"))
    draw(w)
    shape = task.horizon, task.envs
    return w, {k: x[0].reshape(*shape, *x.shape[2:]).double() for k, x in draw.stack.rollout.items()}


def values(task, w, observation):
    return task.values(w, {"observation": torch.as_tensor(observation, dtype=torch.float64).reshape(-1, 1)})


def test_lambda_one_gives_discounted_returns_that_stop_where_an_episode_ends():
    task = PPO(Clock(limit=100, end=3), 2, 6, lam=1.0, gamma=0.9, minibatches=1)
    _, seen = rollout(task)
    whole = [1 + 0.9 + 0.81, 1.9, 1.0] * 2
    for copy in range(2):
        assert seen["target"][:, copy].tolist() == pytest.approx(whole, rel=1e-9)


def test_an_episode_that_is_cut_off_goes_on_in_the_value_of_where_it_stood():
    task = PPO(Clock(limit=3), 2, 4, lam=1.0, gamma=0.9, minibatches=1)
    w, seen = rollout(task)
    at_cut, at_last = values(task, w, [3.0]).item(), values(task, w, [1.0]).item()
    expected = [1.9 + 0.81 + 0.729 * at_cut, 1.9 + 0.81 * at_cut, 1 + 0.9 * at_cut, 1 + 0.9 * at_last]
    assert abs(at_cut - at_last) > 0.01
    assert seen["target"][:, 0].tolist() == pytest.approx(expected, rel=1e-6)


def test_lambda_zero_gives_one_step_errors():
    task = PPO(Clock(limit=100), 1, 4, lam=0.0, gamma=0.5, minibatches=1)
    w, seen = rollout(task)
    v = values(task, w, [0.0, 1.0, 2.0, 3.0, 4.0])
    assert seen["advantage"][:, 0].tolist() == pytest.approx((1 + 0.5 * v[1:] - v[:-1]).tolist(), rel=1e-6)


def test_a_rollout_is_dealt_once_an_epoch_and_renewed_after_all_epochs():
    task = PPO(Clock(limit=7), 2, 8, epochs=3, minibatches=4)
    w = task.init(stream(0, "init"))
    draw = task.source(stream(0, "data"))
    batches, renewals = [], []
    for _ in range(24):
        batches.append(draw(w))
        renewals.append(draw.renewals)
    assert renewals == [1] * 12 + [2] * 12
    orders = []
    for epoch in range(3):
        dealt = torch.cat([b["value"] for b in batches[4 * epoch : 4 * epoch + 4]])
        orders.append(tuple(dealt.tolist()))
        assert sorted(dealt.tolist()) == sorted(orders[0])
    assert len(set(orders)) == 3
    for b in batches:
        assert float(b["advantage"].mean()) == pytest.approx(0, abs=1e-6)
        assert float(b["advantage"].std()) == pytest.approx(1, rel=1e-4)


def test_at_the_first_minibatch_the_gradient_is_the_policy_gradient():
    task = PPO(entropy=0.0, value=0.0)
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    batch = tree.place(task.source(stream(0, "data"))(w), "cpu", torch.float64)
    actor = {k: x.requires_grad_() for k, x in w.items() if k.startswith("actor")}
    logs = task.distribution(w, batch).log_prob(batch["action"])
    plain = torch.autograd.grad(-(logs * batch["advantage"]).mean(), list(actor.values()))
    p = Point(task, {k: x.detach() for k, x in w.items()}, batch)
    for g, k in zip(plain, actor, strict=True):
        assert torch.allclose(g, p.grad[k], rtol=1e-6, atol=1e-12)
    assert all(not p.grad[k].any() for k in w if k.startswith("critic"))


def test_what_is_held_out_changes_nothing_and_is_of_the_present_policy():
    rows = []
    for held in (0, 3):
        task = PPO(held_out=held)
        rows.append([e for e in Run(task, adam(1e-3), steps=40, every=4).events() if isinstance(e, Row)])
    assert rows[0] == rows[1]
    w = task.init(stream(0, "init"))
    draw = task.source(stream(0, "data"))
    batch = draw(w)
    held = draw.held_out
    assert set(held) == set(batch)
    assert held["observation"].shape == (3 * 128, 4)
    logs = task.distribution(w, held).log_prob(held["action"])
    assert torch.allclose(logs, held["log_prob"], atol=1e-6)


@pytest.mark.parametrize("world", [CartPole(), CartPole(sparse=True), Clock(limit=9, actions=0, size=2)], ids=str)
@pytest.mark.parametrize("normalize", [False, True])
def test_a_stack_of_streams_is_single_streams(world, normalize):
    task = PPO(world, 2, 16, held_out=1, normalize=normalize)
    ws = [tree.place(task.init(stream(seed, "init")), "cpu", torch.float64) for seed in range(3)]
    stacked = task.sources([stream(seed, "data") for seed in range(3)])
    single = [task.source(stream(seed, "data")) for seed in range(3)]
    for step in range(40):
        ws = [tree.add(w, tree.each(torch.ones_like, w), 0.01 * (step % 16 == 0)) for w in ws]
        batch = stacked({k: torch.stack([w[k] for w in ws]) for k in ws[0]})
        losses = task.losses(
            {k: torch.stack([w[k] for w in ws]) for k in ws[0]}, tree.place(batch, "cpu", torch.float64)
        )
        for i, draw in enumerate(single):
            alone = draw(ws[i])
            for k, x in alone.items():
                assert torch.allclose(x, batch[k][i], rtol=1e-9, atol=1e-9), k
                assert torch.allclose(draw.held_out[k], stacked.held_out[k][i], rtol=1e-9, atol=1e-9), k
            own = task.losses(ws[i], tree.place(alone, "cpu", torch.float64))
            assert torch.allclose(own, losses[i], rtol=1e-9, atol=1e-9)
            assert draw.renewals == stacked.renewals
            for name, x in draw.told().items():
                assert x == pytest.approx(stacked.told()[name][i], rel=1e-12)


def test_scores_of_a_stack_are_those_of_its_agents():
    task = PPO()
    ws = [task.init(stream(seed, "init")) for seed in range(2)]
    together = task.scores({k: torch.stack([w[k] for w in ws]) for k in ws[0]})["evaluated"]
    assert together.tolist() == pytest.approx([task.score(w)["evaluated"] for w in ws])


def test_gumbel_noise_samples_the_softmax():
    logits = torch.tensor([[0.0, 1.0, -1.0]])
    noise = Discrete(3).noise(stream(0, "noise"), 200_000)
    share = torch.bincount(Discrete(3).act(logits, None, noise), minlength=3) / 200_000
    assert share.tolist() == pytest.approx(torch.softmax(logits[0], 0).tolist(), abs=0.004)


@pytest.mark.parametrize("policy", [Discrete(3), Gaussian(3)], ids=str)
def test_log_probabilities_and_entropies_are_the_distributions(policy):
    outputs, log_std = torch.randn(5, 3, generator=stream(0, "o")), torch.tensor([0.1, -0.5, 0.3])
    action = policy.act(outputs, log_std, policy.noise(stream(0, "n"), 5))
    d = policy.distribution(outputs, log_std)
    logs, entropy = policy.log_prob_and_entropy(outputs, log_std, action)
    assert torch.allclose(logs, d.log_prob(action), atol=1e-6)
    assert torch.allclose(entropy, d.entropy(), atol=1e-6)
    assert torch.allclose(policy.log_prob(outputs, log_std, action), logs)


def test_moments_are_those_of_everything_seen():
    x = np.random.default_rng(0).normal(3, 2, (2, 700, 4))
    m = Moments(2, 4)
    for part in np.split(x, 7, 1):
        m.add(part)
    assert np.allclose(m.mean, x.mean(1), rtol=1e-5)
    assert np.allclose(m.var, x.var(1), rtol=1e-5)


def test_normalisation_is_gymnasiums():
    gym = pytest.importorskip("gymnasium", reason="gymnasium is not installed (pip install 'adamantine[rl]')")
    env = gym.make("CartPole-v1")
    theirs = gym.wrappers.NormalizeReward(gym.wrappers.NormalizeObservation(env), gamma=0.99)
    x, _ = theirs.reset(seed=3)
    raw = np.array(env.unwrapped.state, np.float32)
    own = Normalised(1, 1, 4, 0.99)
    assert np.allclose(own.observation(raw[None, None]), x, atol=1e-5)
    for step in range(60):
        x, r, ended, _, _ = theirs.step(step % 2)
        raw = np.array(env.unwrapped.state, np.float32)
        assert np.allclose(own.observation(raw[None, None])[0, 0], np.clip(x, -10, 10), atol=1e-4)
        if ended:
            break
        assert own.reward(np.ones((1, 1)), np.zeros((1, 1), bool))[0, 0] == pytest.approx(min(r, 10), rel=1e-5)
    assert step > 5


def test_it_learns():
    """Eight thousand steps lift cart-pole well above a random policy's 22."""
    task = PPO()
    rows = list(Run(task, adam(2.5e-3), steps=task.steps(8192), every=255).events())
    told = [e.value for e in rows if isinstance(e, Row) and e.name == "return"]
    assert told[0] < 40
    assert told[-1] > 60


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PPO(minibatches=7), "does not divide"),
        (lambda: PPO(envs=0), "at least 1"),
        (lambda: PPO(gamma=1.1), "gamma and lam"),
        (lambda: PPO().steps(100), "less than one rollout, 512"),
    ],
)
def test_bad_numbers_get_a_sentence(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_what_is_no_world_gets_a_sentence():
    with pytest.raises(TypeError, match=r"give CartPole\(\), or Gym"):
        PPO("CartPole-v1")
