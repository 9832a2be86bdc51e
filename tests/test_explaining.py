"""The board on predictors whose worth is known, an optimizer's own coordinates, and shared measurements."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from adamantine import tree
from adamantine.assume.block_energy import BlockEnergy
from adamantine.assume.directional_smoothness import DirectionalSmoothness
from adamantine.assume.gradient_density import DenseGradient
from adamantine.assume.max_norm_smoothness import MaxNormSmoothness
from adamantine.assume.moment_heterogeneity import MomentHeterogeneity
from adamantine.assume.one_one_norm import OneOneNorm
from adamantine.assume.one_step_gain import OneStepGain
from adamantine.assume.sign_gain import SignGain
from adamantine.assume.smoothness import Smoothness
from adamantine.assume.update_orthogonality import OrthogonalUpdate
from adamantine.explaining import board, boards
from adamantine.explaining.arms import REFERENCE, TWINS, arms
from adamantine.explaining.own_basis import OwnBasis, bases_of, told, turned
from adamantine.explaining.shared import Shared
from adamantine.nets.decoder import Decoder
from adamantine.nets.mlp import Mlp
from adamantine.optim.adam import adam
from adamantine.optim.basis import InBasis
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.rotations import BlockHaar
from adamantine.optim.second_moment import Rms
from adamantine.optim.svd_basis import SvdBasis
from adamantine.pieces import Pieces
from adamantine.point import Point, stream
from adamantine.result import Results
from adamantine.tasks.quadratic import Quadratic, power_law


def speeds(n=20, seeds=4, noise=0.02):
    rng = np.random.default_rng(0)
    return np.linspace(0, 1, n)[:, None] + noise * rng.normal(size=(n, seeds))


def scored(x, y=None, larger="slower", seed=0):
    y = speeds() if y is None else y
    return board.score(np.asarray(x, dtype=float), y, larger, np.random.default_rng(seed), draws=200)


def test_a_perfect_predictor_scores_one_in_the_direction_of_theory():
    good = np.exp(2 * np.linspace(0, 1, 20))[:, None] * np.ones((1, 3))
    found = scored(good)
    assert found.tau == pytest.approx(1.0)
    assert found.low > 0.95
    assert found.p < 0.01
    assert found.slope == pytest.approx(0.5, rel=0.05)
    assert (found.arms, found.pairs) == (20, int(board.resolved(speeds()).sum()) // 2)
    assert scored(good, larger="faster").tau == pytest.approx(-1.0)
    assert scored(1 / good, larger="faster").tau == pytest.approx(1.0)


def test_chance_scores_near_zero_and_its_p_value_is_uniform():
    rng = np.random.default_rng(3)
    found = [scored(rng.random((20, 2)), seed=i) for i in range(60)]
    assert abs(np.mean([s.tau for s in found])) < 0.1
    small = np.mean([s.p < 0.2 for s in found])
    assert 0.05 < small < 0.4
    covered = np.mean([s.low <= 0 <= s.high for s in found])
    assert covered > 0.8


def test_what_does_not_tell_arms_apart_tells_nothing():
    assert scored(np.full((20, 3), 2.0)).arms == 0
    assert scored(np.ones((20, 3)) * (1 + 1e-12 * np.arange(20))[:, None]).arms == 0
    missing = np.random.default_rng(0).random((20, 2))
    missing[:14, 0] = math.nan
    assert scored(missing).arms == 0
    infinite = np.linspace(1, 2, 20)[:, None] * np.ones((1, 2))
    infinite[-1] = math.inf
    assert scored(infinite).tau == pytest.approx(1.0)


def test_pairs_that_are_not_resolved_do_not_count():
    y = speeds()
    y[10:] = y[10] + 1.0 * np.random.default_rng(1).normal(size=(10, 4))
    assert board.resolved(y)[:10, :10].sum() > board.resolved(y)[10:, 10:].sum()


def test_transfer_takes_the_best_of_the_other_tasks():
    def s(tau):
        return dataclasses.replace(board.UNTOLD, tau=tau, arms=9)

    scores = {"one": {"a": s(0.9), "b": s(0.1)}, "two": {"a": s(0.2), "b": s(0.8)}, "three": {"a": s(0.3), "b": s(0.7)}}
    found = board.transfer(scores)
    assert found["one"] == ("b", pytest.approx(0.75), 0.1)
    assert found["two"] == ("a", pytest.approx(0.6), 0.2)
    assert board.transfer({"one": scores["one"]})["one"][0] == ""
    scores["one"]["here only"] = s(1.0)  # not told elsewhere: it takes no part
    assert board.transfer(scores) == found


def test_luck_grows_with_the_number_tried():
    few, many = (board.luck(20, speeds(), n, np.random.default_rng(0), 100) for n in (1, 30))
    assert 0.2 < few < many < 1


# --- coordinates ------------------------------------------------------------------------------------------------


def point(part, basis="random", noise=0.0):
    task = Quadratic(power_law(8), basis, noise, matrix=(3, 2))
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    p = Point(task, w, tree.place(task.source(stream(0, "data"))(w), "cpu", torch.float64))
    s = part.init(w)
    for _ in range(3):
        u, s = part.update(p.grad, s, p)
    return p.after(u, s, part)


def test_an_optimizer_in_a_basis_is_measured_there():
    basis = BlockHaar("all", seed=1)
    p = point(InBasis(Ema() >> Rms(), basis) >> Lr(0.1))
    (found,) = bases_of(p)
    assert found == basis
    q = turned(p, (found,))
    rows = [tree.flat(basis.forth(tree.like(e, p.w))) for e in torch.eye(8, dtype=torch.float64)]
    turn = torch.stack(rows, 1)
    h = turn @ p.task.hessian() @ turn.T
    v = tree.like(torch.arange(8.0, dtype=torch.float64), p.w)
    assert torch.allclose(tree.flat(q.hvp(v)), h @ tree.flat(v))
    assert torch.allclose(tree.flat(q.grad), turn @ tree.flat(p.grad))
    assert torch.allclose(tree.flat(q.u), turn @ tree.flat(p.u))
    g = turn @ tree.flat(p.grad)
    wanted = float(g.abs().sum() ** 2 / (8 * g.square().sum()))
    assert OwnBasis(DenseGradient())(p) == {"DenseGradient": pytest.approx(wanted)}
    assert told(Smoothness(), q) == pytest.approx(told(Smoothness(), p), rel=1e-6)


def test_the_singular_basis_is_found_in_the_state():
    p = point(SvdBasis(Ema() >> Rms()) >> Lr(0.1))
    (basis,) = bases_of(p)
    g = basis.forth(p.grad)["matrix"]
    assert float((g - torch.diag_embed(g.diagonal())[:, :2] if g.shape[0] == 2 else g[2:]).abs().max()) < 1e-9
    assert bases_of(point(adam(0.1))) == ()


def test_shared_measurements_tell_bases_and_updates_apart():
    rotated = InBasis(Ema() >> Rms(), BlockHaar("all")) >> Lr(0.1)
    probe = Shared(
        (("Adam", adam(0.1)), ("rotated", rotated), ("one v", Ema() >> Rms(shape="all") >> Lr(0.1))),
        (Smoothness(8), OneOneNorm(), DirectionalSmoothness(), OrthogonalUpdate()),
        warm=4,
    )
    task = Quadratic(power_law(8), "identity", 0.3, matrix=(3, 2))
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    p = Point(task, w, tree.place(task.source(stream(0, "data"))(w), "cpu", torch.float64))
    found = probe(p)
    assert len({found[f"Smoothness/{k}"] for k in ("Adam", "rotated", "one v")}) == 1
    assert found["OneOneNorm/rotated"] > 1.2 * found["OneOneNorm/Adam"] == 1.2 * found["OneOneNorm/one v"]
    assert len({found[f"DirectionalSmoothness/{k}"] for k in ("Adam", "rotated", "one v")}) == 3
    assert all(-1 <= found[f"cosine/{k}"] <= 1 for k in ("Adam", "rotated", "one v"))
    assert found["cosine/one v"] > found["cosine/Adam"], "it steps along the averaged gradient"
    assert probe(p) == found, "the same numbers again"


def test_what_a_symmetry_says_to_be_equal_is_measured_once():
    """Exactly equal within layers for what layer rotations keep, and the arm's own where they do not."""
    scopes = ("layer", "row", "all")
    arms_ = [(k, InBasis(Ema() >> Rms(), BlockHaar(k, seed=1)) >> Lr(0.1)) for k in scopes]
    arms_ += [("Adam", adam(0.1)), ("singular", SvdBasis(Ema() >> Rms()) >> Lr(0.1))]
    task = Quadratic(power_law(8), "random", 0.3, matrix=(3, 2))
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    p = Point(task, w, tree.place(task.source(stream(0, "data"))(w), "cpu", torch.float64))
    counted = {}
    for name, part in arms_:
        counted[name] = Shared((("Adam", adam(0.1)), (name, part)), (BlockEnergy(), MaxNormSmoothness()), 3)(p)
    own = counted["Adam"]["BlockEnergy/Adam"]
    assert {k: x[f"BlockEnergy/{k}"] == own for k, x in counted.items()} == {
        "layer": True, "row": True, "all": False, "Adam": True, "singular": True,
    }  # fmt: skip
    # Where it is not measured again, it would have been the same.
    q = turned(p, (BlockHaar("layer", seed=1),))
    exact = [BlockEnergy().on_quadratic(x, h) for x, h in ((p, task.hessian()), (q, _turned_hessian(task, p)))]
    assert exact[0]["block_energy"] == pytest.approx(exact[1]["block_energy"], rel=1e-9)
    sizes = {counted[k][f"MaxNormSmoothness/{k}"] for k in scopes}
    assert len({*sizes, counted["Adam"]["MaxNormSmoothness/Adam"]}) == 4


def _turned_hessian(task, p):
    rows = [tree.flat(BlockHaar("layer", seed=1).forth(tree.like(e, p.w))) for e in torch.eye(8, dtype=torch.float64)]
    turn = torch.stack(rows, 1)
    return turn @ task.hessian() @ turn.T


def test_what_cannot_be_told_is_nan_and_ends_no_run():
    task = Quadratic(power_law(6))
    w = task.init(stream(0, "init"))
    p = Point(task, w, task.source(stream(0, "data"))(w))
    assert math.isnan(told(OrthogonalUpdate(), p.after(dict(w), None)))
    part = adam(0.1)
    u, s = part.update(p.grad, part.init(w), p)
    assert OwnBasis(OrthogonalUpdate())(p.after(u, s, part)) == {}
    assert OwnBasis(MomentHeterogeneity())(p.after(u, s, part))["MomentHeterogeneity"] >= 0


@pytest.mark.parametrize(
    "net", [Decoder(context=8, width=8, depth=1, heads=2), Mlp(16, 3, 8, 1)], ids=["text", "image"]
)
def test_arms_are_at_least_thirty_and_named_once(net):
    found = arms(net.tags(), 3)
    names = [a.name for a in found]
    assert names[0] == REFERENCE
    assert len(found) >= 30
    assert len({*names}) == len(names)
    assert {*TWINS} | {*TWINS.values()} <= {*names}
    assert all(len(a.grid) == 3 for a in found)
    assert len({repr(a.make(a.grid[0], 0)) for a in found}) == len(found), "no two are the same"


def test_what_lasts_and_what_passes_are_told_apart():
    """Arms whose times are `offset + rate * reference's`, on curves that fall in a straight line."""
    arms_ = {"AdamW": (1.0, 0.0), "half as fast": (2.0, 0.0), "late": (1.0, 20.0), "never": (50.0, 0.0)}

    class Straight:
        steps = 100
        arms = tuple(SimpleNamespace(name=k) for k in arms_)

        def targets(self, reference, results, fractions):
            assert reference == REFERENCE
            return [1 - f for f in fractions]

        def times(self, name, target, results):
            rate, offset = arms_[name]
            t = offset + rate * np.array([1.0, 1.1]) * 100 * (1 - target)
            return np.where(t <= 100, t, math.inf)

    lasting, passing = boards.rate_and_offset(boards.Board(Straight(), (), 1, 1), Results())
    assert lasting[1] == pytest.approx([math.log(2)] * 2)
    assert passing[1] == pytest.approx([0, 0], abs=1e-9)
    assert lasting[2] == pytest.approx([0, 0], abs=1e-9)
    assert passing[2] == pytest.approx([0.2, 0.2])
    assert np.isnan(lasting[3]).all()


def test_the_concordance_alone_is_that_of_the_score():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(12, 1)) + 0.01 * rng.normal(size=(12, 4))
    x = np.exp(y[:, :2] + 0.3 * rng.normal(size=(12, 2)))
    for larger in ("slower", "faster"):
        assert board.tau(x, y, larger) == board.score(x, y, larger, rng, draws=10).tau
    assert math.isnan(board.tau(np.ones((12, 2)), y, "slower"))


def test_batches_apart_take_the_noise_out_of_squared_slopes():
    """At a noise as large as the gradient: one batch of all examples is biased, products of different ones are not."""
    task = Quadratic(tuple(np.linspace(0.5, 2, 8).tolist()), "identity", noise=3.0, batch=2, matrix=(3, 2))
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    h, g = task.hessian().double(), task.hessian().double() @ tree.flat(w)
    u = tree.like(torch.arange(1.0, 9.0, dtype=torch.float64), w)
    draw, found, blunt, signs = task.source(stream(0, "data")), [], [], []
    for _ in range(1500):
        p = Point(task, w, Pieces(tuple(draw(w).double() for _ in range(3)))).after(u, (), None)
        found.append(OneStepGain()(p)["one_step_gain"])
        blunt.append(OneStepGain()(p.on(torch.cat(p.batch.batches)).after(u, (), None))["one_step_gain"])
        signs.append(SignGain()(p)["sign_gain"])
    v = tree.flat(u)
    exact, slack = float((g @ v) ** 2 / (2 * v @ h @ v)), 4 * np.std(found) / 1500**0.5
    assert np.mean(found) == pytest.approx(exact, abs=slack)
    assert np.mean(blunt) > exact + 2 * slack
    # What signs of one noisy batch gain on average: less than those of the gradient.
    mean = []
    for _ in range(4000):
        s = (g + 3.0 * draw(w).double().mean(0)).sign()
        mean.append([float((g @ s) ** 2), float(2 * s @ h @ s)])
    wanted = np.array(mean).mean(0)
    assert np.mean(signs) == pytest.approx(wanted[0] / wanted[1], rel=0.15)
