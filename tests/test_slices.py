"""Slices through the loss and the plane of a trajectory, against closed forms and numpy."""

import math

import numpy as np
import pytest
import torch
from test_probes_curvature import Line, Net

from adamantine import tree
from adamantine.pieces import Pieces
from adamantine.point import Point, stream
from adamantine.probes import slices
from adamantine.probes.loss_slice import LossSlice
from adamantine.probes.trajectory import trajectory_plane, walk_shares
from adamantine.tasks.quadratic import Quadratic


def bowl():
    task = Quadratic((3.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, -0.4), "random", matrix=(3, 2))
    w = tree.place(task.init(stream(0, "init")), "cpu", torch.float64)
    return Point(task, w, tree.place(task.source(stream(0, "data"))(w), "cpu", torch.float64))


def net():
    task = Net()
    return Point(task, task.init(stream(0, "init")), task.batch())


# --- lines and planes -----------------------------------------------------------------------------------------


def test_lines_and_planes_of_a_quadratic():
    p, at = bowl(), [-1.5, 0.0, 0.5, 2.0]
    a, b = slices.random_directions(p.w, stream(0, "directions"))
    assert list(slices.line(p, a, at)) == pytest.approx([p.task.value(tree.add(p.w, a, t)) for t in at])
    rows = list(slices.plane(p, a, b, at, at[:3]))
    assert [len(r) for r in rows] == [4, 4, 4]
    for y, row in zip(at, rows, strict=False):
        assert row == pytest.approx([p.task.value(tree.add(tree.add(p.w, a, x), b, y)) for x in at])
    assert set(p.cost) == {"loss"}
    assert p.cost["loss"] == 4 + 12


def test_nothing_is_asked_before_it_is_wanted():
    p = bowl()
    rows = slices.plane(p, p.w, p.w, [0.0, 1.0, 2.0], [0.0, 1.0])
    assert not p.cost
    next(rows)
    assert p.cost["loss"] == 3


def test_a_line_through_a_net_over_a_data_set_in_pieces():
    p = net()
    d = slices.filter_normalized(slices.random_directions(p.w, stream(0, "d"), 1)[0], p.w)
    cut = p.on(Pieces(tuple(tuple(x[i : i + 17] for x in p.batch) for i in (0, 17, 34))))
    at = [-1.0, 0.3, 1.0]
    expected = [float(p.task.losses(tree.add(p.w, d, t), p.batch).mean()) for t in at]
    assert list(slices.line(cut, d, at)) == pytest.approx(expected)


def test_interpolation_and_barrier():
    p = Point(Line(lambda x: (x**2 - 1) ** 2), {"x": torch.tensor(7.0, dtype=torch.float64)}, None)
    start, end = ({"x": torch.tensor(x, dtype=torch.float64)} for x in (-1.0, 1.0))
    at = [i / 10 for i in range(11)]
    losses = list(slices.interpolation(p, start, end, at))
    assert losses == pytest.approx([((2 * t - 1) ** 2 - 1) ** 2 for t in at])
    assert slices.barrier(at, losses) == pytest.approx(1.0)
    assert slices.barrier(at, [t**2 for t in at]) == pytest.approx(0, abs=1e-15), "below the straight line"
    assert slices.barrier([0.0, 0.25, 1.0], [2.0, 2.0, 4.0]) == pytest.approx(0)
    for wrong in (([0.0], [1.0]), ([0.0, 1.0], [1.0]), ([1.0, 0.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="as many, ascending"):
            slices.barrier(*wrong)


def test_a_direction_that_does_not_fit_is_a_sentence():
    p = net()
    with pytest.raises(ValueError, match="'two' is missing in the direction"):
        slices.line(p, {k: x for k, x in p.w.items() if k != "two"}, [1.0])
    with pytest.raises(ValueError, match=r"'one' is \[4, 8\] in the direction and \[8, 4\] in the weights"):
        slices.plane(p, {**p.w, "one": p.w["one"].T}, p.w, [1.0], [1.0])


# --- directions -----------------------------------------------------------------------------------------------


def test_every_filter_has_the_norm_of_the_weights_and_vectors_stand_still():
    w = {"conv": torch.randn(5, 3, 2, 2, generator=stream(0, "w")), "bias": torch.ones(5), "gain": torch.tensor(2.0)}
    w["conv"][3] = 0
    (d,) = slices.random_directions(w, stream(0, "d"), 1)
    d["conv"][1] = 0
    found = slices.filter_normalized(d, w)
    expected = w["conv"].flatten(1).norm(dim=1)
    expected[1] = 0
    assert torch.allclose(found["conv"].flatten(1).norm(dim=1), expected)
    assert torch.allclose(
        torch.nn.functional.cosine_similarity(found["conv"][0].flatten(), d["conv"][0].flatten(), 0), torch.tensor(1.0)
    )
    assert not found["bias"].any()
    assert not found["gain"].any()
    whole = slices.filter_normalized(d, w, vectors="whole")
    assert float(whole["bias"].norm()) == pytest.approx(5**0.5)
    assert whole["bias"].abs().std() > 0, "one filter, not five"
    assert abs(float(whole["gain"])) == pytest.approx(2)
    with pytest.raises(ValueError, match="is not one of"):
        slices.filter_normalized(d, w, vectors="keep")


def test_scaled_directions_see_the_same_slice_of_the_same_function():
    """`W1 -> a W1`, `W2 -> W2 / a` around a ReLU: the reason for scaling, and what an unscaled direction gets wrong."""
    task = Net(relu=True)
    w = task.init(stream(0, "init"))
    w["bias"].zero_()  # it stands still, and would have to be scaled too
    v = {"one": 5 * w["one"], "bias": w["bias"], "two": w["two"] / 5}
    (d,) = slices.random_directions(w, stream(0, "d"), 1)
    rises = {}
    for name, x in (("here", w), ("there", v)):
        p = Point(task, x, task.batch())
        rises[name] = list(slices.line(p, slices.filter_normalized(d, x), [0.5, 1.0]))
        rises[f"raw {name}"] = list(slices.line(p, d, [0.5, 1.0]))
    assert rises["here"] == pytest.approx(rises["there"])
    assert rises["raw there"][1] > 2 * rises["raw here"][1]


def test_random_directions_are_independent_and_reproducible():
    w = {"a": torch.zeros(50, 40), "b": torch.zeros(7)}
    one, two = slices.random_directions(w, stream(0, "d"))
    again, _ = slices.random_directions(w, stream(0, "d"))
    assert all(torch.equal(one[k], again[k]) for k in w)
    assert abs(float(tree.dot(one, two) / (tree.norm(one) * tree.norm(two)))) < 0.1
    assert float(one["a"].std()) == pytest.approx(1, rel=0.1)


# --- the probe ------------------------------------------------------------------------------------------------


def test_the_rise_is_without_slope_and_unbiased_on_a_net():
    p = net()
    d = [slices.filter_normalized(x, p.w) for x in slices.random_directions(p.w, stream(9, "d"), 3000)]
    one = LossSlice((0.3,), 4)
    found = [one(Point(p.task, p.w, p.batch, step)) for step in range(250)]
    x, e = (torch.tensor([f[f"loss_slice{k}/0.3"] for f in found], dtype=torch.float64) for k in ("", "_error"))
    sides = torch.tensor([list(slices.line(p, y, [0.3, -0.3])) for y in d]).mean(1) - float(p.loss)
    gap = float(x.mean() - sides.mean())
    assert abs(gap) < 3.5 * (float(x.var()) / len(x) + float(sides.var()) / len(sides)) ** 0.5
    assert 0.85 < float(e.square().mean().sqrt() / x.std()) < 1.15


def test_one_direction_tells_no_error():
    found = LossSlice((0.3,), 1)(net())
    assert math.isnan(found["loss_slice_error/0.3"])
    with pytest.raises(ValueError, match="positive"):
        LossSlice((0.0, 1.0))


# --- trajectories ---------------------------------------------------------------------------------------------


def walk(steps, dim, seed=0, lengths=None):
    x = torch.randn(steps, dim, generator=stream(seed, "walk"), dtype=torch.float64) / dim**0.5
    x = torch.cat(
        [torch.zeros(1, dim, dtype=torch.float64), (x * (1 if lengths is None else lengths[:, None])).cumsum(0)]
    )
    return [{"a": row[: dim // 2].view(2, -1), "b": row[dim // 2 :]} for row in x]


def test_the_plane_is_that_of_the_principal_components():
    snapshots = walk(12, 40)
    found = trajectory_plane(snapshots)
    x = np.stack([tree.flat(w).numpy() for w in snapshots])
    _, sizes, rows = np.linalg.svd(x - x.mean(0), full_matrices=False)
    assert found.explained == pytest.approx((sizes**2 / (sizes**2).sum())[:-1])
    for i, d in enumerate((found.a, found.b)):
        d = tree.flat(d).numpy()
        assert abs(d @ rows[i]) == pytest.approx(1)
        assert found.path[:, i].tolist() == pytest.approx(((x - x[-1]) @ d).tolist(), abs=1e-12)
    assert float(tree.dot(found.a, found.b)) == pytest.approx(0, abs=1e-12)
    assert found.path[-1].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert float(found.path[0].min()) >= 0


def test_a_run_in_a_plane_is_found_with_all_of_its_variance():
    a, b = torch.linalg.qr(torch.randn(300, 2, generator=stream(0, "plane")))[0].T
    t = torch.linspace(1, 0, 20)
    snapshots = [{"w": (10 * x * a + 3 * x**2 * b).view(30, 10) + 1} for x in t]
    found = trajectory_plane(snapshots)
    assert sum(found.explained[:2]) == pytest.approx(1, abs=1e-6)
    there = [tree.add(tree.add(snapshots[-1], found.a, float(x)), found.b, float(y)) for x, y in found.path]
    assert all(torch.allclose(w["w"], s["w"], atol=1e-4) for w, s in zip(there, snapshots, strict=True))


@pytest.mark.parametrize("t", [5, 60])
def test_a_random_walk_has_the_shares_of_its_null(t):
    closed = np.array([1 / math.sin(math.pi * k / (2 * t)) ** 2 for k in range(1, t)])
    assert walk_shares([0.3] * (t - 1)) == pytest.approx(closed / closed.sum())
    found = trajectory_plane(walk(t - 1, 20_000))
    assert found.explained[:2] == pytest.approx(found.null[:2], rel=0.1)
    if t == 60:
        assert found.null[0] == pytest.approx(6 / math.pi**2, abs=0.01), "61 % in one component, of nothing but noise"
        assert sum(found.null[:2]) == pytest.approx(0.76, abs=0.01)


def test_the_null_has_the_lengths_of_the_steps():
    lengths = torch.linspace(1, 0.02, 30, dtype=torch.float64)
    found = trajectory_plane(walk(30, 20_000, lengths=lengths))
    assert found.null == pytest.approx(walk_shares(lengths.tolist()), rel=0.1)
    assert found.explained[:3] == pytest.approx(found.null[:3], rel=0.1)
    assert abs(found.null[0] / walk_shares([1.0] * 30)[0] - 1) > 0.02, "which matters"


def test_too_few_snapshots_and_a_straight_line_are_sentences():
    w = {"a": torch.ones(3)}
    with pytest.raises(ValueError, match="at least three"):
        trajectory_plane([w, w])
    with pytest.raises(ValueError, match="lie on a line"):
        trajectory_plane([{"a": t * torch.ones(3)} for t in (0.0, 1.0, 3.0)])
    with pytest.raises(ValueError, match="lie on a line"):
        trajectory_plane([w, w, w])
    with pytest.raises(ValueError, match="has the tensors of the weights"):
        trajectory_plane([w, w, {"b": torch.ones(3)}])
