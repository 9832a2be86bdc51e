"""State that lives on in another optimizer: closed forms, what is kept and what is lost, switches without a jump."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from problem import TAGS, Problem
from test_contract_parts import built, copied, is_data, kinds, label, same

from adamantine import inplace, tree
from adamantine.live import EXACT, FIRST, SECOND, Live, Moment, settled
from adamantine.optim.adam import adalayer, adam_column, adam_mini, adamw, adasgd
from adamantine.optim.basis import Identity, InBasis
from adamantine.optim.clip import Clip
from adamantine.optim.decay import Decay
from adamantine.optim.eigenbasis import Eigenbasis, soap
from adamantine.optim.frozen import FrozenRms
from adamantine.optim.lion import lion
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema, Momentum
from adamantine.optim.nadam import nadam
from adamantine.optim.rank_one import RankOne
from adamantine.optim.rmsprop import rmsprop
from adamantine.optim.rotations import BlockHaar
from adamantine.optim.second_moment import Rms
from adamantine.optim.sgd import sgd
from adamantine.optim.sign import Sign
from adamantine.optim.svd_basis import SvdBasis
from adamantine.optim.two_sided import TwoSided
from adamantine.optim.unfused import Unfused
from adamantine.part import Part
from adamantine.point import Point, stream
from adamantine.role import Cut, Is, Tag, Tags, bind
from adamantine.route import Route
from adamantine.run import Checkpoint, Row, Run
from adamantine.tasks.quadratic import Quadratic
from adamantine.until import Until

SHAPES = {"matrix": (4, 3), "four": (3, 2, 2, 1), "vector": (5,), "scalar": ()}
W = {k: torch.randn(s, generator=stream(0, k), dtype=torch.float64) for k, s in SHAPES.items()}


def is_matrix(name, x):
    return x.ndim >= 2


def gradients(t, w=W):
    return {k: torch.randn(x.shape, generator=stream(0, f"{k}/{t}"), dtype=x.dtype) * (1 + t % 3) for k, x in w.items()}


def at(t, w=W, steps=100):
    return Point(Problem(), w, None, t, steps).given(gradients(t, w))


def lived(part, steps=7, w=W, start=0, s=None):
    """The state after some steps."""
    s = part.init(w) if s is None else s
    for t in range(start, start + steps):
        p = at(t, w)
        _, s = part.update(p.grad, s, p)
    return s


def converted(old, new, s, w=W):
    return new.adopt(new.init(w), Live(old.moments(s, w)), w)


def near(a, b, tolerance=1e-12):
    pairs = list(zip(tree.leaves(a), tree.leaves(b), strict=True))
    return all(p == q and x.shape == y.shape and torch.allclose(x, y, tolerance, tolerance) for (p, x), (q, y) in pairs)


def dense(part, s, kind=SECOND, w=W):
    return next(m.value for m in part.moments(s, w) if m.kind == kind)


# --- second moments ------------------------------------------------------------------------------------------

FINER = [(a, b) for a, bs in {"full": ("row", "column", "tensor", "all"), "row": ("tensor", "all")}.items() for b in bs]
FINER += [("column", "tensor"), ("column", "all"), ("tensor", "all")]


@pytest.mark.parametrize(("fine", "coarse"), FINER)
def test_fine_to_coarse_is_what_the_coarse_one_would_have_held_from_the_start(fine, coarse):
    old, new = Rms(0.9, shape=fine), Rms(0.9, shape=coarse)
    got, want = converted(old, new, lived(old)), lived(new)
    assert got[0] == want[0]
    assert near(got, want)
    assert near(lived(new, 3, start=7, s=got), lived(new, 10))


@pytest.mark.parametrize(("coarse", "fine"), [("row", "full"), ("column", "full"), ("tensor", "row"), ("all", "full")])
def test_coarse_to_fine_is_constant_in_the_block_and_keeps_its_mean(coarse, fine):
    old, new = Rms(0.9, shape=coarse), Rms(0.9, shape=fine)
    s = lived(old)
    assert near(dense(new, converted(old, new, s)), dense(old, s))
    assert near(converted(new, old, converted(old, new, s)), s)


def test_a_row_that_becomes_a_column_keeps_the_mean_over_the_tensor_and_nothing_else():
    rows, columns = Rms(0.9, shape="row"), Rms(0.9, shape="column")
    v = converted(rows, columns, lived(rows))[1]["matrix"]
    whole = lived(Rms(0.9, shape="tensor"))[1]["matrix"]
    assert torch.allclose(v, whole.expand(1, 3), 1e-12)
    assert not near(v, lived(columns)[1]["matrix"], 1e-2)


@pytest.mark.parametrize("new", [Rms(0.99), Rms(0.0), Rms(0.9, debias=False)])
def test_another_coefficient_keeps_the_corrected_value_and_the_count(new):
    old = Rms(0.9)
    s = lived(old)
    t, v = converted(old, new, s)
    assert t == 7
    assert near(tree.each(lambda x: x / (1 - new.beta**7), v), tree.each(lambda x: x / (1 - 0.9**7), s[1]))


def test_the_update_does_not_jump():
    p = at(7)
    for old, new in ((Rms(0.99), FrozenRms()), (Rms(0.99, shape="row"), FrozenRms(shape="row"))):
        s = lived(old)
        v = dense(old, s)
        u, after = new.update(p.grad, converted(old, new, s), p)
        assert near(u, {k: x / (v[k].sqrt() + 1e-8) for k, x in p.grad.items()})
        assert same(after, converted(old, new, s))


def test_a_frozen_second_moment_goes_on_where_it_stopped():
    s = lived(Rms(0.9))
    held = converted(Rms(0.9), FrozenRms(), s)
    assert held[0] == 7
    assert near(converted(FrozenRms(), Rms(0.9), lived(FrozenRms(), 5, s=held)), s)
    assert near(converted(FrozenRms(), Rms(0.9, shape="tensor"), held), lived(Rms(0.9, shape="tensor")))


def test_frozen_asks_for_something_to_freeze():
    p = at(0)
    with pytest.raises(ValueError, match=r"no second moment to freeze for 'matrix'; let a part"):
        FrozenRms().update(p.grad, FrozenRms().init(W), p)
    part = Until(0.5, Ema() >> Lr(0.1), Ema() >> FrozenRms() >> Lr(0.1))
    with pytest.raises(ValueError, match="FrozenRms"):
        lived(part, 60)
    with pytest.raises(ValueError, match="eps"):
        FrozenRms(eps=-1.0)


@pytest.mark.parametrize("beta", [None, 0.9])
def test_rank_one_takes_over_exactly_the_means_it_would_have_held(beta):
    new = RankOne(beta=beta)
    if beta:
        s = converted(Rms(0.9), new, lived(Rms(0.9)))
        assert s[0] == 7
        assert near(s, lived(new))
    s = lived(new)
    v = dense(new, s)["matrix"]
    assert torch.linalg.matrix_rank(v) == 1
    assert near(converted(new, new, s), s)
    rows = Rms(0.9, shape="row")
    assert near(dense(rows, converted(new, rows, s))["matrix"][:, 0], v.mean(1))


# --- first moments -------------------------------------------------------------------------------------------


def test_a_sum_and_an_average_differ_by_the_factor_of_a_constant_direction():
    s = lived(Ema(0.9))
    m = tree.each(lambda x: x / (1 - 0.9**7), s[1])
    assert near(converted(Ema(0.9), Momentum(0.8), s), tree.each(lambda x: x / (1 - 0.8), m))
    t, back = converted(Momentum(0.8), Ema(0.9), converted(Ema(0.9), Momentum(0.8), s))
    assert t == settled(0.9)
    assert near(back, m)
    assert settled(0.0) == 1
    assert 0.999 ** settled(0.999) <= 2.0**-53 < 0.999 ** (settled(0.999) - 1)


def test_a_new_coefficient_keeps_the_corrected_average():
    s = lived(Ema(0.9))
    t, m = converted(Ema(0.9), Ema(0.5), s)
    assert t == 7
    assert near(tree.each(lambda x: x / (1 - 0.5**7), m), tree.each(lambda x: x / (1 - 0.9**7), s[1]))


def test_a_momentum_of_steps_does_not_become_one_of_gradients():
    steps, gradient = Rms(0.9) >> Momentum(0.9), Momentum(0.9) >> Rms(0.9)
    s = lived(steps)
    got = converted(steps, gradient, s)
    assert near(got[1], s[0])
    assert near(got[0], gradient.init(W)[0])
    again = Rms(0.9, shape="row") >> Ema(0.5)
    assert converted(steps, again, s)[1][0] == settled(0.5)


# --- alignment -----------------------------------------------------------------------------------------------


def test_parts_take_their_counterparts_in_order_wherever_they_stand():
    old = Ema(0.9) >> Ema(0.5) >> Rms(0.9) >> Lr(0.1)
    new = Clip(1.0, Ema(0.9) >> Decay(0.1)) >> InBasis(Ema(0.5) >> Rms(0.9), Identity())
    s = lived(old)
    got = converted(old, Ema(0.9) >> InBasis(Ema(0.5) >> Rms(0.9), Identity()), s)
    assert near((got[0], *got[1]), s[:3])
    # Behind a decay a momentum averages something else than the old one did.
    assert converted(old, new, s)[1][0][0] == 0


def test_a_route_takes_and_gives_tensor_by_tensor():
    split = Route(is_matrix, Ema(0.9) >> Rms(0.9), Momentum(0.9) >> Rms(0.9, shape="tensor"))
    whole = Ema(0.9) >> Rms(0.9)
    s = lived(whole)
    there = converted(whole, split, s)
    assert set(there[0][0][1]) == {"matrix", "four"}
    back = converted(split, whole, there)
    for k in ("matrix", "four"):
        assert torch.allclose(dense(whole, back)[k], dense(whole, s)[k])
    assert torch.allclose(dense(whole, back)["vector"], dense(whole, s)["vector"].mean().expand(5))
    # Where one tensor has nothing to bring, all start afresh: one count of steps serves them all.
    assert same(
        converted(Route(is_matrix, Rms(0.9), Lr(1.0)), Rms(0.9), lived(Route(is_matrix, Rms(0.9), Lr(1.0)))),
        Rms(0.9).init(W),
    )


def test_what_has_no_counterpart_starts_afresh():
    assert same(converted(Momentum(0.9), Rms(0.9), lived(Momentum(0.9))), Rms(0.9).init(W))
    assert same(converted(Lr(0.1), Ema(), ()), Ema().init(W))


def test_fused_tensors_are_taken_apart_and_joined():
    w = {"qkv": torch.randn(6, 4, dtype=torch.float64), "up": torch.randn(4, 3, dtype=torch.float64)}
    fused = Tag("query+key+value", tuple(Cut(role, 2, 2) for role in ("query", "key", "value")))
    tags = Tags((("qkv", fused), ("up", Tag("up", transposed=True))))
    scale = Route(Is("query", "key"), Rms(0.9, shape="tensor"), Rms(0.9, shape="row"))
    whole, apart = Ema(0.9) >> Rms(0.9), bind(Ema(0.9) >> Unfused(scale, heads=("query", "key")), tags)
    s, want = lived(whole, w=w), lived(apart, w=w)
    got = converted(whole, apart, s, w)
    assert near(got, want)
    assert got[1][0][0] == 7
    assert near(converted(apart, apart, want, w), want)
    back = dense(whole, converted(apart, whole, want, w), w=w)
    assert torch.allclose(back["qkv"][4:].mean(1), dense(whole, s, w=w)["qkv"][4:].mean(1))
    assert torch.allclose(back["up"].mean(0), dense(whole, s, w=w)["up"].mean(0))


@pytest.mark.parametrize("lean", [adam_mini, adam_column, adalayer, adasgd, nadam])
def test_adamw_becomes_a_lean_relative_as_if_it_had_been_it_from_the_start(lean):
    w = Problem().start()
    new = bind(lean(0.01), TAGS)
    got = converted(adamw(0.01), new, lived(adamw(0.01), w=w), w)
    assert near(got, lived(new, w=w))
    assert tree.leaves(got)
    assert set(counted(got)) == {7}


def counted(s):
    """Every count of steps in a state."""
    inside = s.values() if isinstance(s, dict) else s if isinstance(s, tuple) else ()
    return [s] if isinstance(s, int) else [n for x in inside for n in counted(x)]


# --- bases ---------------------------------------------------------------------------------------------------


def sides(seed):
    rng = stream(seed, "sides")

    def q(n):
        return torch.linalg.qr(torch.randn(n, n, generator=rng, dtype=torch.float64))[0]

    return TwoSided({"matrix": q(4), "four": q(3)}, {"matrix": q(3)})


@pytest.mark.parametrize("old", [(), (BlockHaar("layer"),), (sides(1),), (sides(1), sides(3))])
@pytest.mark.parametrize("new", [(), (BlockHaar("row"),), (BlockHaar("all"),), (sides(2),), (sides(1),)])
def test_first_moments_are_turned_exactly_and_second_moments_by_squared_entries(old, new):
    def to(bases, a, back=False):
        for b in reversed(bases) if back else bases:
            a = b.back(a) if back else b.forth(a)
        return a

    m = {k: x.clone() for k, x in W.items()}
    v = tree.each(lambda x: x.square() + 0.1, gradients(3))
    live = Live([Moment(FIRST, to(old, m), 5, old), Moment(SECOND, v, 5, old)])
    for b in new:
        live = live.seen_in(b)
    first, second = live.claim(FIRST, W), live.claim(SECOND, W)
    assert first is not None
    assert second is not None
    assert near(first.value, to(new, m))
    # The covariance of uncorrelated coordinates, turned: its diagonal, column by column.
    want = {k: torch.zeros_like(x) for k, x in W.items()}
    for k, x in v.items():
        for i in range(x.numel()):
            unit = {j: torch.zeros_like(y) for j, y in W.items()}
            unit[k].reshape(-1)[i] = 1.0
            turned = to(new, to(old, unit, back=True))
            want = tree.add(want, tree.each(lambda y, c=x.reshape(-1)[i]: c * y.square(), turned))
    assert near(second.value, want)
    assert math.isclose(float(tree.flat(second.value).sum()), float(tree.flat(v).sum()), rel_tol=1e-12)
    assert live.claim(FIRST, W) is None


def test_squares_of_a_large_unknown_rotation_are_unbiased_to_the_error_stated():
    w = {"x": torch.zeros(2 * EXACT, dtype=torch.float64)}
    v = {"x": torch.cat([torch.full((EXACT,), 4.0), torch.full((EXACT,), 1.0)]).double()}
    m = Live([Moment(SECOND, v)]).seen_in(BlockHaar("layer")).claim(SECOND, w)
    assert m is not None
    assert abs(float(m.value["x"].mean()) - 2.5) < 0.05
    assert float((m.value["x"] / 2.5 - 1).square().mean().sqrt()) < 1.3 * (2 / 64) ** 0.5


@pytest.mark.parametrize("outer", [Eigenbasis, SvdBasis])
def test_adam_goes_on_in_a_new_basis(outer):
    flat, turned = Ema(0.9) >> Rms(0.9), outer(Ema(0.9) >> Rms(0.9))
    s = lived(flat)
    p = at(7)
    _, after = turned.update(p.grad, converted(flat, turned, s), p)
    basis = TwoSided(*after[2]) if outer is Eigenbasis else TwoSided(*after[1:3])
    (t, m), (_, v) = after[3]
    assert t == 8
    assert near(basis.back(m), lived(flat, 8)[0][1])
    square = TwoSided(tree.each(torch.square, basis.left), tree.each(torch.square, basis.right))
    want = tree.add(
        tree.each(lambda x: 0.9 * x, square.forth(s[1][1])), tree.each(torch.square, basis.forth(p.grad)), 0.1
    )
    assert near(v, want, 1e-9)
    # And out of it again: momentum to the last digit.
    assert near(converted(turned, flat, after)[0], lived(flat, 8)[0])


@pytest.mark.parametrize("outer", [Eigenbasis, SvdBasis])
def test_a_momentum_inside_is_turned_with_the_basis_if_told(outer):
    inside, before = outer(Ema(0.9), every=2, reproject=True), Ema(0.9)
    s, held = inside.init(W), before.init(W)
    kept, apart = outer(Ema(0.9), every=2), 0.0
    s_kept = kept.init(W)
    for t in range(9):
        p = at(t)
        u, s = inside.update(p.grad, s, p)
        want, held = before.update(p.grad, held, p)
        other, s_kept = kept.update(p.grad, s_kept, p)
        assert near(u, want, 1e-9)
        apart = max(apart, float((other["matrix"] - want["matrix"]).abs().max()))
    assert apart > 1e-3


# --- the switch ----------------------------------------------------------------------------------------------

WHOLE = [
    adamw(0.01), adamw(0.01, shape="row"), adasgd(0.01), sgd(0.01, 0.9), nadam(0.01), lion(0.01),
    rmsprop(0.01, momentum=0.9),
    rmsprop(0.01, centered=True), soap(0.01, every=3), soap(0.01) >> Clip(1.0, Momentum(0.9)),
    Eigenbasis(Ema() >> Rms(), every=2, reproject=True), SvdBasis(every=3), InBasis(basis=BlockHaar("all")),
    Route(is_matrix, adamw(0.01), sgd(0.01, 0.9)),
]  # fmt: skip


@pytest.mark.parametrize("part", WHOLE, ids=label)
def test_a_switch_to_oneself_changes_nothing(part):
    s, both = part.init(W), Until(0.05, part, part)
    r = both.init(W)
    for t in range(12):
        p = at(t)
        before = copied(r)
        u, s = part.update(p.grad, s, p)
        got, after = both.update(p.grad, r, p)
        assert same(r, before)
        r = after
        assert near(got, u, 1e-9)
    assert r[0] == 1
    assert near(r[1], s, 1e-9)
    assert is_data(r)


def test_stages_nest_and_can_start_afresh():
    a, b, c = Ema(0.9) >> Rms(0.9), Ema(0.9) >> Rms(0.9, shape="row"), Momentum(0.9)
    part = Until(0.05, a, Until(0.08, b, c))
    s = lived(part, 7)
    assert (s[0], s[1][0]) == (1, 0)
    assert near(s[1][1], lived(b, 7))
    s = lived(part, 1, start=8, s=lived(part, 1, start=7, s=s))
    assert (s[0], s[1][0]) == (1, 1)
    m = tree.each(lambda x: x / (1 - 0.9**8) / (1 - 0.9), lived(Ema(0.9), 8)[1])
    assert near(s[1][1], tree.add(gradients(8), m, 0.9))
    fresh = replace(part, carry=False)
    assert near(lived(fresh, 2, start=5, s=lived(fresh, 5))[1][1], lived(b, 2, start=5))
    assert replace(part, fraction=0.0).update(at(0).grad, part.init(W), at(0))[1][1][1][0][0] == 1


def test_what_a_switch_may_be():
    with pytest.raises(ValueError, match=r"fraction = 2 must lie in \[0, 1\]"):
        Until(2, Ema(), Ema())
    with pytest.raises(TypeError, match="second is a int"):
        Until(0.5, Ema(), 3)  # pyright: ignore[reportArgumentType]


def test_the_state_shrinks_at_the_switch():
    lean = Ema() >> Rms(shape="row") >> Lr(0.01)
    part = Until(0.05, adamw(0.01), Until(0.08, lean, Lr(0.01)))
    for steps, now in ((5, adamw(0.01)), (6, lean), (9, Lr(0.01))):
        kept = sum(x.numel() * x.element_size() for _, x in tree.leaves(lived(part, steps)))
        assert kept == now.state_bytes(W)
    assert part.state_bytes(W) == adamw(0.01).state_bytes(W)


def quadratic_losses(part, steps=200):
    run = Run(Quadratic(), part, steps=steps, every=1, dtype="float64")
    return torch.tensor([e.value for e in run.events() if isinstance(e, Row) and e.name == "loss"])


def test_the_loss_does_not_jump_where_the_conversion_is_exact():
    scaled = Rms(0.99, shape="tensor")
    lean = quadratic_losses(Ema() >> scaled >> Lr(0.01))
    turned = Until(0.5, InBasis(Ema() >> scaled, BlockHaar("layer")) >> Lr(0.01), Ema() >> scaled >> Lr(0.01))
    assert torch.allclose(quadratic_losses(turned), lean, 1e-9)
    assert not torch.allclose(quadratic_losses(replace(turned, carry=False)), lean, 1e-3)
    momentum = quadratic_losses(Until(0.5, Momentum(0.9) >> Lr(1e-3), Ema(0.9) >> Lr(1e-2)))
    assert torch.allclose(momentum, quadratic_losses(Momentum(0.9) >> Lr(1e-3)), 1e-9)


def test_a_run_resumed_anywhere_around_the_switch_is_bit_equal():
    inner = Eigenbasis(Ema() >> Rms(shape="row"))
    part = Until(0.4, Ema() >> Rms() >> Lr(0.01), Until(0.7, inner >> Lr(0.01), Ema() >> FrozenRms() >> Lr(0.01)))
    run = Run(Quadratic(noise=0.1, matrix=(4, 3)), part, steps=10, every=1, dtype="float64")
    events = list(run.events(checkpoint_every=0))
    whole = [e for e in events if isinstance(e, Row)]
    for c in [e for e in events if isinstance(e, Checkpoint)]:
        assert is_data(c.state)
        before = [e for e in events[: events.index(c)] if isinstance(e, Row)]
        assert before + [e for e in run.events(start=c) if isinstance(e, Row)] == whole


STAGES = Until(0.05, Ema() >> Rms(), Until(0.08, Momentum() >> Rms(shape="row"), Ema() >> FrozenRms()))


@pytest.mark.parametrize(
    "part", [STAGES, Decay(0.1) >> STAGES, Sign() >> Route(is_matrix, STAGES, Momentum() >> STAGES)]
)
def test_the_switch_is_made_in_place_as_well(part):
    s, r = part.init(W), part.init(W)
    w, v = {k: x.clone() for k, x in W.items()}, {k: x.clone() for k, x in W.items()}
    for t in range(12):
        u, s = part.update(gradients(t), s, at(t, w))
        w = tree.add(w, u, -1.0)
        r = inplace.step(part, v, r, at(t, v))
        assert near(v, w, 1e-9)
        assert near(r, s, 1e-9)


# --- every part there is -------------------------------------------------------------------------------------


START = Problem().start()


def telling():
    """Every part that tells moments, over the small network's roles."""
    found = [bind(built(k), TAGS) for k in kinds() if not k.inherits and k.moments is not Part.moments]
    return [x for x in found if x.moments(learnt(x), START)] + [Rms(0.9, shape=s) for s in ("row", "column", "all")]


@cache
def point(t):
    return Point(Problem(), START, Problem().batch(t), t, 100)


@cache
def learnt(part):
    s = part.init(START)
    for t in range(3):
        _, s = part.update(point(t).grad, s, point(t))
    return s


def structure(s):
    return [(k, x.shape, x.dtype) for k, x in tree.leaves(s)]


TELLING = telling()


@pytest.mark.parametrize("part", TELLING, ids=label)
def test_every_part_that_tells_takes_back_what_it_told(part):
    s = learnt(part)
    told = part.moments(s, START)
    for m in told:
        assert m.kind not in (FIRST, SECOND) or all(x.shape == START[k].shape for k, x in m.value.items())
    again = part.adopt(part.init(START), Live(told), START)
    for m, n in zip(told, part.moments(again, START), strict=True):
        assert (m.kind, m.units) == (n.kind, n.units)
        assert near(m.value, n.value, 2e-2 if "Stored" in repr(part) else 1e-9)


@pytest.mark.parametrize("new", [*TELLING, FrozenRms(), FrozenRms(shape="column")], ids=label)
def test_every_part_goes_on_from_every_other(new):
    fresh = new.init(START)
    for old in TELLING:
        told = old.moments(learnt(old), START)
        if new.inherits and not any(m.kind == SECOND for m in told):
            continue
        before = copied([m.value for m in told])
        got = new.adopt(fresh, Live(told), START)
        assert is_data(got)
        u, after = new.update(point(3).grad, got, point(3))
        assert same([m.value for m in told], before)
        assert all(torch.isfinite(x).all() for _, x in (*tree.leaves(u), *tree.leaves(after)))
        if not new.inherits:
            _, plain = new.update(point(3).grad, fresh, point(3))
            assert structure(after) == structure(plain), f"from {old!r}"
        assert tree.size_bytes(dict(tree.leaves(after))) == new.state_bytes(START)
