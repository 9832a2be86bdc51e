"""tree, point, part, run: the nouns."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamantine import tree
from adamantine.optim.adam import adamw
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Momentum
from adamantine.optim.sgd import sgd
from adamantine.part import Chain, Part
from adamantine.point import Point, stream
from adamantine.route import Route
from adamantine.run import Checkpoint, Diverged, Row, Run, Trained
from adamantine.symmetry import GROUPS, holds, symmetry_of
from adamantine.tasks.images import Images
from adamantine.until import Until


@dataclass(frozen=True)
class Bowl:
    """f(w) = w'Hw / 2 with H = diag(1 .. d), examples shifted by given noise."""

    d: int = 5
    noise: float = 0.0
    splits = True

    def init(self, rng):
        return {"w": torch.randn(self.d, generator=rng), "unused": torch.zeros(2)}

    def source(self, rng):
        return lambda w: self.noise * torch.randn(4, self.d, generator=rng)

    def losses(self, w, batch):
        h = torch.arange(1, self.d + 1, dtype=w["w"].dtype)
        return 0.5 * (h * w["w"] ** 2).sum() + batch @ w["w"]

    def score(self, w):
        return {"held_out": float(w["w"].square().sum())}


def point(task=None, dtype=torch.float64, **named):
    task = task or Bowl()
    w = tree.place(task.init(stream(0, "init")), "cpu", dtype)
    batch = tree.place(task.source(stream(0, "data"))(w), "cpu", dtype)
    return Point(task, w, batch, **named)


def test_tree_arithmetic():
    a = {"x": torch.tensor([1.0, 2.0]), "y": torch.tensor([[3.0]])}
    b = {"x": torch.tensor([4.0, 5.0]), "y": torch.tensor([[6.0]])}
    assert tree.add(a, b, 2.0)["y"].item() == 15
    assert tree.dot(a, b).item() == 4 + 10 + 18
    assert tree.norm(a).item() == pytest.approx(14**0.5)
    assert tree.norm(a, 1).item() == 6
    assert tree.norm(a, float("inf")).item() == 3
    assert (tree.size(a), tree.size_bytes(a)) == (3, 12)
    assert all(torch.equal(x, a[k]) for k, x in tree.like(tree.flat(a), a).items())
    assert [p for p, _ in tree.leaves({"s": (a, 3, [a["x"]])})] == ["/s/0/x", "/s/0/y", "/s/2/0"]


def test_gradient_and_curvature_of_a_quadratic():
    p = point(Bowl(noise=1.0))
    h = torch.arange(1, 6, dtype=torch.float64)
    assert torch.allclose(p.grad["w"], h * p.w["w"] + p.batch.mean(0))
    assert torch.equal(p.grad["unused"], torch.zeros(2, dtype=torch.float64))
    v = {"w": torch.randn(5, generator=stream(1, "v"), dtype=torch.float64), "unused": torch.ones(2).double()}
    for _ in range(2):
        assert torch.allclose(p.hvp(v)["w"], h * v["w"])
    assert torch.allclose(p.each_grad()["w"], h * p.w["w"] + p.batch)
    assert dict(p.cost) == {"grad": 1, "hvp": 2, "each_grad": 1}


def test_points_elsewhere_share_the_ledger_and_not_the_answers():
    p = point(Bowl(noise=1.0))
    before = p.loss
    q = p.at(tree.add(p.w, p.grad, -0.1))
    assert q.loss < before
    r = p.on(p.batch + 1)
    assert not torch.equal(r.grad["w"], p.grad["w"])
    assert dict(p.cost) == {"loss": 2, "grad": 2}
    stand_in = {k: torch.ones_like(x) for k, x in p.w.items()}
    assert p.given(stand_in).grad is stand_in
    assert p.loss == before


def test_streams_depend_on_seed_and_name_only():
    draw = [torch.randn(3, generator=stream(s, n)) for s, n in ((0, "a"), (0, "a"), (0, "b"), (1, "a"))]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert not torch.equal(draw[0], draw[3])
    p = point(step=3)
    assert torch.equal(torch.rand(2, generator=p.rng("x")), torch.rand(2, generator=p.rng("x")))
    assert not torch.equal(torch.rand(2, generator=p.rng("x")), torch.rand(2, generator=point(step=4).rng("x")))


@given(st.sets(st.sampled_from(sorted(GROUPS))))
def test_symmetries_are_closed_downwards(names):
    held = frozenset().union(*(GROUPS[n] for n in names)) if names else frozenset()
    assert holds(symmetry_of(held)) == held


def test_composition_reads_left_to_right():
    chain = Momentum(0.9) >> Lr(0.1)
    assert repr(chain) == "Momentum(beta=0.9, nesterov=False) >> Lr(size=0.1, schedule=Constant())"
    assert (chain >> Lr(2.0)).parts == (*chain.parts, Lr(2.0))
    with pytest.raises(TypeError):
        chain >> 3


def bias_like(name, x):
    return x.ndim < 2


def test_route_sends_each_tensor_its_own_way():
    p = point(Images(), torch.float32)
    both = Route(bias_like, Lr(1.0), Lr(0.0))
    u, _ = both.update(p.grad, both.init(p.w), p)
    for k, x in u.items():
        assert torch.equal(x, p.grad[k] * (1.0 if p.w[k].ndim < 2 else 0.0))
    assert Route(bias_like, Chain(), Chain()).symmetry == "layer rotation"


def test_until_switches_once_and_starts_afresh_if_told():
    part = Until(0.5, Momentum(0.9), Momentum(0.5), carry=False)
    p = point()
    s = part.init(p.w)
    for step in range(4):
        u, s = part.update(p.grad, s, Point(p.task, p.w, p.batch, step, 4))
        assert s[0] == (step >= 2)
    assert torch.allclose(u["w"], 1.5 * p.grad["w"])


def rows(run, **named):
    return [e for e in run.events(**named) if isinstance(e, Row)]


def test_a_run_is_the_loop_written_out():
    run = Run(Bowl(noise=0.3), sgd(0.05, 0.9), steps=20, every=1)
    w = run.task.init(stream("report/0", "init"))
    draw, m = run.task.source(stream("report/0", "data")), {}
    losses = []
    for _ in range(20):
        batch = draw(w)
        h = torch.arange(1, 6)
        g = h * w["w"] + batch.mean(0)
        losses.append((0.5 * (h * w["w"] ** 2).sum() + batch.mean(0) @ w["w"]).item())
        m = 0.9 * m + g if len(losses) > 1 else g
        w["w"] = w["w"] - 0.05 * m
    got = rows(run)
    assert [r.value for r in got if r.name == "loss"] == pytest.approx(losses, rel=1e-5)
    assert got[-1] == Row(20, "held_out", pytest.approx(float(w["w"].square().sum()), rel=1e-5))


def test_equal_runs_give_equal_rows_and_roles_share_nothing():
    run = Run(Images(), adamw(1e-2), steps=12, every=3, score_every=4)
    assert rows(run) == rows(run)
    other = Run(Images(), adamw(1e-2), steps=12, every=3, score_every=4, role="tune")
    assert rows(run)[0] != rows(other)[0]


def test_a_resumed_run_is_bit_equal():
    run = Run(Images(), adamw(1e-2), steps=15, every=4, score_every=5)
    events = list(run.events(checkpoint_every=0))
    whole = [e for e in events if isinstance(e, Row)]
    for c in [e for e in events if isinstance(e, Checkpoint)][::4]:
        before = [e for e in events[: events.index(c)] if isinstance(e, Row)]
        assert before + rows(run, start=c) == whole


def test_divergence_is_an_event_that_says_when():
    events = list(Run(Bowl(), sgd(1e6), steps=200).events())
    assert isinstance(events[-1], Diverged)
    assert 0 < events[-1].step < 50
    assert f"step {events[-1].step}" in events[-1].why
    assert sum(isinstance(e, Diverged) for e in events) == 1


def step_size(p):
    return float(tree.norm(p.u))


def test_probes_see_the_update_and_keep_notes():
    @dataclass(frozen=True)
    class Count:
        def __call__(self, p):
            p.notes["n"] = p.notes.get("n", 0) + 1
            return {"count": p.notes["n"]}

    found = rows(Run(Bowl(), sgd(0.1), steps=9, every=4, probes=(step_size, Count())))
    assert [r.value for r in found if r.name == "count"] == [1, 2, 3]
    assert [r.step for r in found if r.name == "step_size"] == [0, 4, 8]
    assert all(r.value > 0 for r in found if r.name == "step_size")


def test_steps_in_double_precision():
    *_, last = Run(Bowl(), sgd(0.1), steps=3, dtype="float64").events()
    assert isinstance(last, Trained)
    assert last.w["w"].dtype == torch.float64


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("role", "tuning", "role"),
        ("steps", 0, "steps"),
        ("dtype", "float16", "dtype"),
        ("optimizer", 3, "not a Part"),
    ],
)
def test_impossible_runs_are_refused_in_a_sentence(field, value, says):
    with pytest.raises((ValueError, TypeError), match=says):
        Run(**{"task": Bowl(), "optimizer": sgd(0.1), field: value})


def test_per_example_gradients_are_refused_where_they_have_no_meaning():
    @dataclass(frozen=True)
    class Coupled:
        splits = False

    with pytest.raises(ValueError, match="does not split"):
        Point(Coupled(), {}, None).each_grad()


def test_a_part_is_abstract():
    p = point()
    with pytest.raises(NotImplementedError):
        Part().update(p.grad, (), p)
