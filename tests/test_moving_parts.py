"""Parts for objectives that change, and for steps measured in outputs, against closed forms."""

import copy
import dataclasses
from dataclasses import dataclass
from math import sqrt

import pytest
import scipy.special
import torch
import torch.nn.functional as F

from adamantine import tree
from adamantine.optim.adam import adam
from adamantine.optim.annealed import AnnealedRms, rad
from adamantine.optim.basis import InBasis
from adamantine.optim.bounded import Bounded, obgd
from adamantine.optim.corrected_momentum import CorrectedEma, corrected_adam, corrected_sgd
from adamantine.optim.erfi import erfi
from adamantine.optim.error_fraction import ErrorFraction
from adamantine.optim.inside import inside
from adamantine.optim.kl_step import KlStep
from adamantine.optim.local_time import Recounted, adam_rel
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema, Momentum
from adamantine.optim.reset import Reset, adam_reset
from adamantine.optim.rotations import BlockHaar
from adamantine.optim.scale import Normalize
from adamantine.optim.second_moment import Rms
from adamantine.optim.trac import Trac
from adamantine.part import Chain, Part
from adamantine.pieces import Pieces
from adamantine.point import Point, stream
from adamantine.role import Named
from adamantine.route import Route
from adamantine.until import Until

F64 = torch.float64


@dataclass(frozen=True)
class Agent:
    """A policy over three actions and a value of states, each of one hidden layer, on given advantages and returns."""

    width: int = 5

    def init(self, rng):
        shapes = {
            "actor.layer0.weight": (self.width, 4),
            "actor.head.weight": (3, self.width),
            "critic.layer0.weight": (self.width, 4),
            "critic.head.weight": (1, self.width),
        }
        return {k: torch.randn(s, generator=rng, dtype=F64) / s[1] ** 0.5 for k, s in shapes.items()}

    def batch(self, seed, n=16):
        rng = stream(seed, "batch")
        x = torch.randn(n, 4, generator=rng, dtype=F64)
        action = torch.randint(3, (n,), generator=rng)
        return {"x": x, "action": action, "advantage": x[:, 0] * (action - 1), "target": 2 * x.sin().sum(1)}

    def logits(self, w, batch):
        return torch.tanh(batch["x"] @ w["actor.layer0.weight"].T) @ w["actor.head.weight"].T

    def values(self, w, batch):
        return (torch.tanh(batch["x"] @ w["critic.layer0.weight"].T) @ w["critic.head.weight"].T).squeeze(-1)

    def errors(self, w, batch):
        return batch["target"] - self.values(w, batch)

    def distribution(self, w, batch):
        return torch.distributions.Categorical(logits=self.logits(w, batch), validate_args=False)

    def losses(self, w, batch):
        log_prob = torch.log_softmax(self.logits(w, batch), -1) * F.one_hot(batch["action"], 3)
        return -batch["advantage"] * log_prob.sum(-1) + self.errors(w, batch).square() / 2

    def score(self, w):
        return {}


@dataclass(frozen=True)
class Line:
    """Values linear in the weights, half the squared error; a batch is `(features [B, n], targets [B])`."""

    def values(self, w, batch):
        return batch[0] @ w["critic.w"]

    def errors(self, w, batch):
        return batch[1] - self.values(w, batch)

    def losses(self, w, batch):
        return self.errors(w, batch).square() / 2


def line(rng, examples=6, n=4):
    x = 2 * torch.rand(examples, n, generator=rng, dtype=F64) - 1
    y = 5 * torch.randn(examples, generator=rng, dtype=F64)
    return Point(Line(), {"critic.w": torch.randn(n, generator=rng, dtype=F64)}, (x, y))


def constant(g):
    """A point of one weight whose gradient is `g`."""
    w = {"w": torch.zeros(1, dtype=F64)}
    return Point(None, w, None).given({"w": torch.tensor([float(g)], dtype=F64)})


def settled(part, g=1.0, t=10**6):
    """The state of Adam after so many gradients `g` that nothing of the start is left."""
    (_, m), (_, v), last = part.init(constant(g).w)
    return (t, {k: torch.full_like(x, g) for k, x in m.items()}), (t, {k: v[k] + g * g for k in v}), last


def sizes(part, s, g, steps):
    out = []
    for _ in range(steps):
        u, s = part.update(constant(g).grad, s, constant(g))
        out.append(float(u["w"]))
    return out


# --- the count of steps -----------------------------------------------------------------------------------------


def test_without_a_jump_local_time_is_a_smaller_rate():
    part = adam_rel(1.0, eps=0.0)
    s = part.renew(settled(part), constant(1.0))
    f = [sqrt(1 - 0.999**t) / (1 - 0.9**t) for t in range(1, 8001)]
    assert sizes(part, s, 1.0, 8000) == pytest.approx(f, rel=1e-9)
    assert f[0] == pytest.approx(0.32, abs=0.005)
    assert sum(f[:16]) / 16 == pytest.approx(0.176, abs=5e-4)
    assert sum(f[:320]) / 320 == pytest.approx(0.37, abs=5e-3)
    assert sum(f) / 8000 == pytest.approx(0.92, abs=5e-3)


@pytest.mark.parametrize(("jump", "overshoot"), [(2.0, 1.88), (10.0, 5.2), (1e6, 6.57)])
def test_a_jump_makes_adam_overshoot_and_not_adam_on_local_time(jump, overshoot):
    plain, local = adam(1.0, eps=0.0), adam_rel(1.0, eps=0.0)
    assert max(sizes(plain, settled(plain), jump, 200)) == pytest.approx(overshoot, rel=5e-3)
    after = sizes(local, local.renew(settled(local), constant(jump)), jump, 5000)
    assert max(after) <= 1.04
    assert after[-1] == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("wrapper", [Recounted, Reset])
def test_what_has_stages_is_refused(wrapper):
    with pytest.raises(ValueError, match=r"has an Until.*put \w+ inside it"):
        wrapper(Ema() >> Until(0.5, Ema(), Rms()))
    with pytest.raises(TypeError, match="must be a Part"):
        wrapper("adam")


def test_counts_go_back_and_averages_stay():
    part = Recounted(Until(0.5, Ema(), Rms()).first >> Momentum() >> Rms())
    p = constant(2.0)
    s = part.init(p.w)
    for _ in range(3):
        _, s = part.update(p.grad, s, p)
    new = part.renew(s, p)
    assert [new[0][0], new[2][0]] == [0, 0]
    assert new[0][1]["w"] is s[0][1]["w"]
    assert new[1]["w"] is s[1]["w"]
    assert new[2][1]["w"] is s[2][1]["w"]


# --- forgetting ---------------------------------------------------------------------------------------------------


def along(part, gs, s=None):
    """Updates for given gradients, the last state, and a point that shows the last of them."""
    w = {k: torch.zeros_like(x) for k, x in gs[0].items()}
    s, out = part.init(w) if s is None else s, []
    for step, g in enumerate(gs):
        p = Point(None, w, None, step, len(gs)).given(g)
        u, s = part.update(g, s, p)
        out.append(u)
    return out, s, p


def gradients(seed, count, names=("critic.a", "actor.b")):
    rng = stream(seed, "gradients")
    return [{k: torch.randn(3, 2, generator=rng, dtype=F64) for k in names} for _ in range(count)]


def equal(a, b, tol=1e-12):
    return all(float((x[k] - y[k]).abs().max()) < tol for x, y in zip(a, b, strict=True) for k in y)


@pytest.mark.parametrize("opposed", [False, True])
def test_after_a_reset_it_is_a_fresh_start(opposed):
    part, old, new = adam_reset(0.1, opposed=opposed), gradients(0, 5), gradients(1, 5)
    _, s, _ = along(part, old)
    back = [{k: -x for k, x in old[-1].items()}] if opposed else new  # points away from the average
    p = Point(None, {k: torch.zeros_like(x) for k, x in new[0].items()}, None).given(back[0])
    s = part.renew(s, p)
    assert equal(along(part, new, s)[0], along(adam(0.1), new)[0])


def test_only_what_points_away_is_forgotten():
    part, one = adam_reset(0.1, opposed=True), {"w": torch.ones(2, dtype=F64)}
    _, s, p = along(part, [one] * 4)
    for g, reset in (([1.0, 0.5], False), ([1.0, -0.999], False), ([1.0, -1.0], True), ([-1.0, 0.5], True)):
        new = part.renew(s, p.given({"w": torch.tensor(g, dtype=F64)}))
        assert float(new[0][0]) == float(new[1][0]) == (0 if reset else 4)
        assert bool((new[0][1]["w"] == 0).all()) == reset


def test_the_momentum_alone_is_forgotten():
    part, old, new = adam_reset(0.1, what="first"), gradients(0, 5), gradients(1, 3)
    _, s, p = along(part, old)
    after = part.renew(s, p)
    assert after[0][0] == 0
    assert not any(x.any() for x in after[0][1].values())
    assert after[1] == s[1]
    fresh = Ema(0.9).init(p.w), s[1], s[2]
    assert equal(along(part, new, after)[0], along(adam(0.1), new, fresh)[0])


def test_of_an_actor_and_a_critic_each_forgets_by_itself():
    one = Reset(Ema(0.9) >> Rms(0.99), opposed=True)
    part = Route(Named("critic.*"), one, one) >> Lr(0.1)
    _, s, p = along(part, gradients(0, 5))
    m = {**s[0][0][0][1], **s[0][1][0][1]}
    g = {"critic.a": m["critic.a"], "actor.b": -m["actor.b"]}
    (critic, actor), _ = part.renew(s, p.given(g))
    assert float(critic[0][0]) == 5
    assert float(actor[0][0]) == 0


def test_a_reset_without_a_momentum_says_so():
    part = Reset(Rms(), what="first")
    with pytest.raises(ValueError, match="no Ema or Momentum keeps a momentum"):
        part.renew(part.init(constant(1.0).w), constant(1.0))
    with pytest.raises(ValueError, match="one of all, first"):
        Reset(Rms(), what="second")


@dataclass(frozen=True)
class Witness(Part):
    """Tells which tensors it is renewed with."""

    def init(self, w):
        return tuple(w)

    def update(self, u, s, p):
        return u, s

    def renew(self, s, p):
        assert tuple(p.w) == tuple(p.grad) == s
        return (*s, "renewed")


def test_a_route_renews_each_side_at_its_own_tensors():
    part = Route(Named("critic.*"), Witness(), Chain((Witness(),)))
    _, s, p = along(part, gradients(0, 1))
    assert part.renew(s, p) == (("critic.a", "renewed"), (("actor.b", "renewed"),))
    turned = Route(Named("critic.*"), InBasis(Reset(Ema(), opposed=True), BlockHaar("all")), Ema())
    _, s, p = along(turned, gradients(0, 3))
    new = turned.renew(s, p.given({k: -x for k, x in p.grad.items()}))
    m = turned.yes.basis.back(s[0][1])["critic.a"]
    assert (float(new[0][0]) == 0) == bool((m * -p.grad["critic.a"]).sum() <= 0)


# --- averages brought to where we stand ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Bowls:
    """`sum h (w - c)^2 / 2`, with `h` and `c` of each batch; with `pull` the target follows the weights, as in TD."""

    pull: float = 0.0

    def losses(self, w, batch):
        h, c = batch
        return ((h * (w["w"] - c - self.pull * (w["w"].detach() - c)).square()).sum() / 2).reshape(1)

    def gradient(self, w, batch):
        return batch[0] * (1 - self.pull) * (w - batch[1])


@pytest.mark.parametrize("pull", [0.0, 0.9])
def test_corrected_momentum_is_the_average_of_the_gradients_as_they_are_now(pull):
    task, part, rng = Bowls(pull), CorrectedEma(0.8), stream(0, "bowls")
    w, seen = {"w": torch.randn(7, generator=rng, dtype=F64)}, []
    s = part.init(w)
    for step in range(25):
        batch = torch.randn(7, generator=rng, dtype=F64), torch.randn(7, generator=rng, dtype=F64)
        seen.append(batch)
        p = Point(task, w, batch, step, 25)
        u, s = part.update(p.grad, s, p)
        weights = [0.2 * 0.8 ** (step - i) / (1 - 0.8 ** (step + 1)) for i in range(step + 1)]
        now = sum(a * task.gradient(w["w"], b) for a, b in zip(weights, seen, strict=True))
        torch.testing.assert_close(u["w"], now, rtol=0, atol=1e-9)
        w = {"w": w["w"] - 0.3 * torch.randn(7, generator=rng, dtype=F64)}  # wherever the weights go
    stale = sum(a * b for a, b in zip(weights, [task.gradient(torch.zeros(7), b) for b in seen], strict=True))
    assert float((now - stale).abs().max()) > 1e-3


def test_the_diagonal_is_not_biased_by_what_is_beside_it():
    h = torch.tensor([[2.0, 1.0, -0.5], [1.0, 3.0, 0.7], [-0.5, 0.7, 1.0]], dtype=F64)

    @dataclass(frozen=True)
    class Coupled:
        def losses(self, w, batch):
            return (w["w"] @ h @ w["w"] / 2).reshape(1)

    w = {"w": torch.tensor([1.0, -2.0, 0.5], dtype=F64)}
    points = (Point(Coupled(), w, None, step=i) for i in range(400))
    found = torch.stack([CorrectedEma()._diagonal(p.w, p)["w"] for p in points])
    error, spread = found.mean(0) - h.diagonal(), found.std(0) / 400**0.5
    assert bool((error.abs() < 4 * spread).all())
    assert bool((spread > 0.01).all())


# --- no prediction moves further than its error ----------------------------------------------------------------------


@pytest.mark.parametrize("lr", [0.01, 1.0, 1e6])
@pytest.mark.parametrize("kappa", [1.0, 2.0, 3.0])
def test_one_error_is_never_overshot(lr, kappa):
    for seed in range(30):
        p = line(stream(seed, "one"), examples=1)
        u, _ = obgd(lr, kappa).update(p.grad, ((), ()), p)
        (x, y), w = p.batch, p.w["critic.w"]
        delta, after = y - x @ w, Line().errors(tree.add(p.w, u, -1.0), p.batch)
        assert bool(((after / delta) <= 1).all())
        assert bool((after / delta >= 1 - 1 / kappa - 1e-12).all())
        # The paper's step, with delta apart from the derivative of the value.
        step = lr / max(1.0, lr * kappa * max(float(delta.abs()), 1.0) * float(x.abs().sum()))
        torch.testing.assert_close(w - u["critic.w"], w + step * delta * x[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
def test_no_prediction_of_a_batch_moves_further_than_the_bound(scale):
    for seed in range(30):
        p = line(stream(seed, "many"))
        p = p.on((p.batch[0], p.batch[0] @ p.w["critic.w"] + scale * p.batch[1]))
        e = float(Line().errors(p.w, p.batch).abs().mean())
        u, _ = obgd(1e6).update(p.grad, ((), ()), p)
        moved = p.batch[0] @ u["critic.w"]
        assert float(moved.abs().max()) <= min(e, 1.0) / 2 + 1e-12
        assert float(moved.abs().max()) > 0.01 * min(e, 1.0)


# --- steps measured in outputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.5, 1.0, 0.1])
@pytest.mark.parametrize("before", [Chain(), Rms(0.9), Lr(1e-5), Normalize()])
def test_one_error_shrinks_by_the_fraction(fraction, before):
    p = line(stream(0, "one"), examples=1)
    part = before >> ErrorFraction(fraction)
    u, _ = part.update(p.grad, part.init(p.w), p)
    after = Line().errors(tree.add(p.w, u, -1.0), p.batch)
    torch.testing.assert_close(after, (1 - fraction) * Line().errors(p.w, p.batch), rtol=1e-9, atol=1e-12)


def test_of_a_batch_it_is_a_fraction_of_the_way_to_the_least_error():
    p = line(stream(1, "many"))
    direction = {"critic.w": p.grad["critic.w"] + 0.3}

    def loss(c):
        return float(Line().losses({"critic.w": p.w["critic.w"] - c * direction["critic.w"]}, p.batch).mean())

    u, _ = ErrorFraction(1.0).update(direction, (), p)
    best = float(u["critic.w"][0] / direction["critic.w"][0])
    assert loss(best) < min(loss(0.999 * best), loss(1.001 * best), loss(0.0))
    half, _ = ErrorFraction(0.5).update(direction, (), p)
    torch.testing.assert_close(half["critic.w"], u["critic.w"] / 2)


def test_directions_that_enlarge_the_error_or_move_nothing_are_not_taken():
    p = line(stream(1, "many"))
    for u in (tree.each(torch.neg, p.grad), tree.each(torch.zeros_like, p.grad)):
        out, _ = ErrorFraction().update(u, (), p)
        assert not out["critic.w"].any()


def test_the_error_is_asked_of_the_task_through_rotations_restrictions_and_routes():
    task = Agent()
    w, batch = task.init(stream(0, "init")), task.batch(0)
    p = Point(task, w, batch)
    critic = {k: x for k, x in p.grad.items() if k.startswith("critic")}
    plain, _ = ErrorFraction().update(critic, (), p)
    turned = InBasis(ErrorFraction(), BlockHaar("all"))
    inside_out, _ = turned.update(critic, (), p)
    routed, _ = Route(Named("critic.*"), ErrorFraction(), Chain()).update(p.grad, ((), ()), p)
    for other in (inside_out, routed):
        for k, x in plain.items():
            torch.testing.assert_close(other[k], x, rtol=1e-9, atol=1e-12)
    assert routed["actor.head.weight"] is p.grad["actor.head.weight"]
    head = {"critic.head.weight": p.grad["critic.head.weight"]}
    alone = p.only(head)
    restricted, _ = ErrorFraction().update(alone.grad, (), alone)
    beside, _ = ErrorFraction().update(head, (), p)
    torch.testing.assert_close(restricted, beside, rtol=1e-9, atol=1e-12)
    # The error as it would shrink along u, by a difference.
    e = 1e-6
    away = {k: x - e * plain[k] if k in plain else x for k, x in w.items()}
    rate = (task.errors(away, batch) - task.errors(w, batch)) / e
    left = task.errors(w, batch)
    assert float(-(rate * left).sum() / (rate * rate).sum()) == pytest.approx(1 / 0.5, rel=1e-4)


def test_a_batch_in_pieces_is_one_batch():
    p, cut = line(stream(1, "many")), lambda x: (x[:2], x[2:])
    parts = Pieces(tuple(zip(*map(cut, p.batch), strict=True)))
    for part in (ErrorFraction(), KlStep(), Bounded()):
        (whole, _), (pieces, _) = (part.update(p.grad, part.init(p.w), q) for q in (p, p.on(parts)))
        torch.testing.assert_close(pieces["critic.w"], whole["critic.w"])


def test_without_values_one_example_takes_polyaks_step():
    @dataclass(frozen=True)
    class Bowl:
        def losses(self, w, batch):
            return w["w"].square().sum().reshape(1)

    p = Point(Bowl(), {"w": torch.tensor([3.0, 4.0], dtype=F64)}, None)
    u, _ = ErrorFraction(1.0).update(p.grad, (), p)
    torch.testing.assert_close(u["w"], 25 / 100 * p.grad["w"])


@dataclass(frozen=True)
class Gaussian:
    """A policy over two continuous actions: the mean is linear, and the deviation of its own."""

    def distribution(self, w, batch):
        mean = batch @ w["actor.mean"]
        normal = torch.distributions.Normal(mean, w["actor.log_std"].exp().expand_as(mean), validate_args=False)
        return torch.distributions.Independent(normal, 1, validate_args=False)

    def losses(self, w, batch):
        return -self.distribution(w, batch).log_prob(batch[:, :2])


def start(kind):
    rng = stream(0, kind)
    if kind == "softmax":
        return Point(Agent(), Agent().init(rng), Agent().batch(0))
    w = {"actor.mean": torch.randn(4, 2, generator=rng, dtype=F64), "actor.log_std": torch.zeros(2, dtype=F64)}
    return Point(Gaussian(), w, torch.randn(16, 4, generator=rng, dtype=F64))


@pytest.mark.parametrize("kind", ["softmax", "gaussian"])
@pytest.mark.parametrize("nats", [1e-6, 1e-4, 1e-2])
def test_a_step_changes_the_policy_by_its_budget(kind, nats):
    p = start(kind)
    part = Rms(0.9) >> KlStep(nats)
    s = part.init(p.w)
    for step in range(6):
        p = dataclasses.replace(p, step=step, memo={})
        u, s = part.update(p.grad, s, p)
        after = tree.add(p.w, u, -1.0)
        policies = [p.task.distribution(w, p.batch) for w in (p.w, after)]
        found = float(torch.distributions.kl_divergence(*policies).mean())
        assert found == pytest.approx(nats, rel=0.02 if step else 0.1)
        p = p.at(after)


def test_between_measurements_the_scale_stays_and_without_a_policy_values_are_means():
    p = line(stream(0, "many"))
    part = KlStep(2e-3, every=3, trials=1)
    s, scales = part.init(p.w), []
    for step in range(4):
        u, s = part.update({k: (1 + step) * x for k, x in p.grad.items()}, s, p)
        scales.append(float(u["critic.w"][0] / p.grad["critic.w"][0]))
    moved = p.batch[0] @ p.grad["critic.w"]
    size = sqrt(2 * 2e-3 / float(moved.square().mean()))  # KL of unit normals: half the squared distance
    assert scales == pytest.approx([size, 2 * size, 3 * size, size], rel=1e-9)


# --- a floor that grows -------------------------------------------------------------------------------------------


def test_the_floor_grows_from_adam_to_descent():
    part = AnnealedRms(0.9)
    assert part.zeta(0, 10**6) == 1e-16
    assert part.zeta(99, 100) == 1
    assert part.zeta(49, 100) == pytest.approx(2.0611536e-9)  # exp(-20)
    gs = gradients(0, 5)
    early, _, _ = along(Ema(0.9) >> AnnealedRms(0.99, growth=1e6), gs)
    assert equal(early[:4], along(Ema(0.9) >> Rms(0.99, eps=0.0), gs[:4])[0], 1e-9)
    small = [{k: 1e-9 * x for k, x in g.items()} for g in gs]
    flat, _, _ = along(AnnealedRms(0.99, growth=0.0), small)
    for t, (u, g) in enumerate(zip(flat, small, strict=True), 1):
        torch.testing.assert_close(u["critic.a"], g["critic.a"] * (1 - 0.99**t) ** 0.5, rtol=1e-12, atol=0)


# --- how far to follow --------------------------------------------------------------------------------------------


def test_erfi_against_scipy():
    x = torch.cat([torch.logspace(-12, 1.4, 500, dtype=F64), torch.linspace(5.9, 6.1, 21, dtype=F64), torch.zeros(1)])
    x = torch.cat([x, -x])
    theirs = torch.from_numpy(scipy.special.erfi(x.numpy()))
    torch.testing.assert_close(erfi(x), theirs, rtol=1e-13, atol=0)
    single = x[x.abs() < 9].float()
    theirs = torch.from_numpy(scipy.special.erfi(single.double().numpy()))
    torch.testing.assert_close(erfi(single).double(), theirs, rtol=1e-5, atol=0)


def test_it_follows_a_way_that_pays_and_no_other():
    """Gradients that agree are followed to where the optimizer is; those that contradict themselves, nowhere."""
    part = Trac(Lr(0.1))
    _, s, _ = along(part, [{"w": torch.ones(2, dtype=F64)}] * 60)
    assert float(part.scale(s[2], s[3])) > 0.5
    assert float(part.scale(-s[2], s[3])) == 0
    rng, task = stream(0, "signs"), None
    w, s = {"w": torch.zeros(1, dtype=F64)}, part.init({"w": torch.zeros(1, dtype=F64)})
    for step in range(200):
        g = {"w": torch.randn(1, generator=rng, dtype=F64)}
        p = Point(task, w, None, step, 200).given(g)
        u, s = part.update(g, s, p)
        w = tree.add(w, u, -1.0)
    assert float(w["w"].abs()) < 1e-3
    assert float(s[1]["w"].abs()) > 0.1  # where the inner optimizer has gone
    torch.testing.assert_close(w["w"], s[0]["w"] + part.scale(s[2], s[3]) * s[1]["w"])


def test_wrong_numbers_are_refused():
    for make in (
        lambda: Trac(Lr(0.1), betas=()),
        lambda: Trac(Lr(0.1), betas=(0.9, 1.0)),
        lambda: ErrorFraction(0.0),
        lambda: KlStep(-1.0),
        lambda: KlStep(1e-3, every=0),
        lambda: Bounded(0.0),
        lambda: CorrectedEma(1.0),
        lambda: AnnealedRms(0.9, delta=-1.0),
    ):
        with pytest.raises(ValueError, match=r"must .*give|must .*0 keeps"):
            make()


def test_every_part_inside_is_found():
    part = Route(Named("a"), Recounted(Ema() >> Rms()), Lr(0.1)) >> Until(0.5, Ema(), Lr(0.2))
    found = [type(x).__name__ for x in inside(part)]
    assert sorted(set(found)) == ["Chain", "Ema", "Lr", "Recounted", "Rms", "Route", "Until"]
    assert found.count("Ema") == 2


# --- many at once -------------------------------------------------------------------------------------------------


def with_rate(x, rate):
    """The composition with every rate replaced by a tensor, past the checks for numbers."""
    if isinstance(x, tuple):
        return tuple(with_rate(y, rate) for y in x)
    if not isinstance(x, Part):
        return x
    new = copy.copy(x)
    for f in dataclasses.fields(x):
        own = (type(x), f.name) in ((Lr, "size"), (ErrorFraction, "fraction"), (KlStep, "nats"))
        object.__setattr__(new, f.name, rate if own else with_rate(getattr(x, f.name), rate))
    return new


def flattened(s):
    """The tensors of a state, and a function that puts others in their places."""
    if isinstance(s, torch.Tensor):
        return [s], lambda xs: next(xs)
    if isinstance(s, dict):
        kids = {k: flattened(x) for k, x in s.items()}
        return [x for a, _ in kids.values() for x in a], lambda xs: {k: f(xs) for k, (_, f) in kids.items()}
    if isinstance(s, tuple):
        kids = [flattened(x) for x in s]
        return [x for a, _ in kids for x in a], lambda xs: tuple(f(xs) for _, f in kids)
    return [], lambda xs: s


def advanced(part, s, w, task, batch, step, renewed):
    grad = torch.func.grad(lambda w: task.losses(w, batch).mean())(w)
    p = Point(task, w, batch, step, 30).given({k: x.detach() for k, x in grad.items()})
    s = part.renew(s, p) if renewed else s
    u, s = part.update(p.grad, s, p)
    return tree.add(w, u, -1.0), s


STACKED = [
    adam_rel(1.0),
    adam_reset(1.0),
    adam_reset(1.0, what="first"),
    adam_reset(1.0, opposed=True),
    adam_reset(1.0, what="first", opposed=True),
    Reset(Momentum(0.9) >> Lr(1.0), opposed=True),
    corrected_sgd(1.0),
    corrected_adam(1.0),
    Route(Named("critic.*"), obgd(1.0, 2.0), obgd(1.0, 3.0)),
    Route(Named("critic.*"), Ema() >> Rms() >> ErrorFraction(1.0), Ema() >> Rms() >> KlStep(1.0)),
    Route(Named("critic.*"), Ema() >> Rms() >> ErrorFraction(1.0), Ema() >> Rms() >> KlStep(1.0, every=4)),
    rad(1.0),
    Trac(adam(1.0), eps=0.1),
]


@pytest.mark.parametrize("part", STACKED, ids=repr)
def test_many_runs_advance_as_one(part):
    task, rates = Agent(), torch.tensor([1e-3, 3e-3, 1e-2], dtype=F64)
    starts = [task.init(stream(i, "init")) for i in range(3)]
    singles = []
    for w, rate in zip(starts, rates, strict=True):
        own = with_rate(part, float(rate))
        s = own.init(w)
        for step in range(30):
            w, s = advanced(own, s, w, task, task.batch(step // 10), step, step in (10, 20))
        singles.append(w)
    w = {k: torch.stack([x[k] for x in starts]) for k in starts[0]}
    states = [flattened(part.init(x)) for x in starts]
    tensors, put = [torch.stack(x) for x in zip(*(a for a, _ in states), strict=True)], states[0][1]
    for step in range(30):
        held = {}

        def one(w, tensors, rate, step=step, put=put, held=held):
            own = with_rate(part, rate)
            w, s = advanced(own, put(iter(tensors)), w, task, task.batch(step // 10), step, step in (10, 20))
            found, held["put"] = flattened(s)
            return w, found

        w, tensors = torch.func.vmap(one, randomness="same")(w, tensors, rates)
        put = held["put"]
    for i, single in enumerate(singles):
        for k, x in single.items():
            torch.testing.assert_close(w[k][i], x, rtol=1e-9, atol=1e-9)
    assert max(float((x - starts[0][k]).abs().max()) for k, x in singles[0].items()) > 1e-3


def test_one_of_two_stacked_runs_forgets():
    part, one = adam_reset(0.1, opposed=True), {"w": torch.ones(2, dtype=F64)}
    _, s, p = along(part, [one] * 4)
    _, put = flattened(s)

    def counts(sign):
        new = part.renew(put(iter(flattened(s)[0])), p.given({"w": sign * one["w"]}))
        return new[0][0], new[0][1]["w"]

    t, m = torch.func.vmap(counts)(torch.tensor([1.0, -1.0], dtype=F64))
    assert t.tolist() == [4, 0]
    assert [bool(x.any()) for x in m] == [True, False]


def test_small_divergences_are_told_from_rounding():
    task, w = Agent(), start("softmax").w
    batch = {k: x.float() if x.is_floating_point() else x for k, x in task.batch(0, 128).items()}
    p = Point(task, {k: x.float() for k, x in w.items()}, batch)
    part = KlStep(1e-8)
    u, _ = part.update(p.grad, part.init(p.w), p)
    after = {k: (x - u[k]).double() for k, x in p.w.items()}
    double = task.batch(0, 128)
    old, new = (task.distribution(x, double) for x in (tree.place(p.w, "cpu", F64), after))
    assert float(torch.distributions.kl_divergence(old, new).mean()) == pytest.approx(1e-8, rel=0.02)
