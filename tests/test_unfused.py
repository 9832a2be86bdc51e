"""Unfused: the parts of a fused, turned or multi-headed tensor are stepped as if they were tensors of their own."""

from dataclasses import dataclass

import pytest
import torch

from adamantine import tree
from adamantine.optim.adam import adamw
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.optim.unfused import Cuts, Unfused
from adamantine.point import Point, stream
from adamantine.role import Cut, Is, Tag, Tags, bind
from adamantine.route import Route

SHAPES = {"qkv": (6, 8), "qkv.bias": (8,), "o": (4, 4), "experts": (3, 10, 6), "norm": (6,)}
QKV = (Cut("query", 4, 2), Cut("key", 2, 1), Cut("value", 2, 1))
TAGS = Tags(
    (
        ("qkv", Tag("query+key+value", QKV, transposed=True)),
        ("qkv.bias", Tag("bias")),
        ("o", Tag("output", heads=2)),
        ("experts", Tag("gate+up", (Cut("gate", 4), Cut("up", 6)), experts=3)),
        ("norm", Tag("norm")),
    )
)


@dataclass(frozen=True)
class Bend:
    """log cosh along random directions of all weights."""

    def losses(self, w, batch):
        return torch.log(torch.cosh(batch @ tree.flat(w)))


def start():
    return {k: torch.randn(s, generator=stream(0, k), dtype=torch.float64) for k, s in SHAPES.items()}


def steps(part, w, tags=TAGS, n=5):
    part = bind(part, tags)
    s = part.init(w)
    for step in range(n):
        batch = torch.randn(4, tree.size(w), generator=stream(0, str(step)), dtype=torch.float64)
        p = Point(Bend(), w, batch, step, n)
        u, s = part.update(p.grad, s, p)
        w = tree.add(w, u, -1.0)
    return w, s


def test_forth_cuts_turns_and_views_and_back_undoes_it():
    w = start()
    cuts = Cuts(TAGS, ("query", "output"))
    parts = cuts.forth(w)
    assert {k: tuple(x.shape) for k, x in parts.items()} == {
        "qkv/query": (2, 2, 6),
        "qkv/key": (2, 6),
        "qkv/value": (2, 6),
        "qkv.bias": (8,),
        "o": (2, 4, 2),
        "experts/gate": (3, 4, 6),
        "experts/up": (3, 6, 6),
        "norm": (6,),
    }
    assert torch.equal(parts["qkv/key"], w["qkv"].T[4:6])
    assert torch.equal(parts["qkv/query"][1], w["qkv"].T[2:4])
    assert torch.equal(parts["o"][1], w["o"][:, 2:])
    again = cuts.back(parts)
    assert list(again) == list(w)
    assert all(torch.equal(x, w[k]) for k, x in again.items())


def test_each_part_has_a_second_moment_of_its_own():
    part = bind(Unfused(Rms(0.9, shape="tensor")), TAGS)
    w = start()
    p = Point(Bend(), w, torch.ones(1, tree.size(w), dtype=torch.float64)).given(
        {k: torch.ones_like(x) for k, x in w.items()}
    )
    scaled = dict(p.grad)
    scaled["qkv"] = p.grad["qkv"] * torch.tensor([1.0] * 4 + [5.0] * 4)
    p = p.given(scaled)
    u, _ = part.update(p.grad, part.init(w), p)
    assert torch.allclose(u["qkv"], torch.ones_like(u["qkv"]), atol=1e-6)


def test_coordinatewise_parts_do_not_notice():
    plain, _ = steps(adamw(0.01, decay=0.1), start())
    unfused, _ = steps(Unfused(adamw(0.01, decay=0.1), ("query", "key", "value", "output")), start())
    assert all(torch.equal(plain[k], unfused[k]) for k in plain)


def test_roles_inside_are_those_of_the_parts():
    frozen, moved = Lr(0.0), Lr(0.1)
    w, _ = steps(Unfused(Route(Is("key", "up"), moved, frozen)), start())
    first = start()
    apart = Cuts(TAGS).forth(tree.add(w, first, -1.0))
    assert {k for k, x in apart.items() if x.abs().max() > 0} == {"qkv/key", "experts/up"}


def test_state_is_named_after_the_parts_and_counted():
    part = bind(Unfused(Ema(0.9)), TAGS)
    _, s = steps(part, start())
    assert any("qkv/query" in path.replace("//", "/") or path.endswith("query") for path, _ in tree.leaves(s))
    assert sum(x.numel() * 8 for _, x in tree.leaves(s)) == part.state_bytes(start())


def test_symmetry_ends_at_tensors_where_one_is_cut():
    whole = Tags((("a", Tag("up")),))
    inner = Rms(0.9, shape="tensor")
    assert bind(Unfused(inner), whole).symmetry == inner.symmetry
    assert bind(Unfused(inner), TAGS).symmetry == "none"
    assert bind(Unfused(Rms(0.9)), TAGS).symmetry == "signed permutation"
    assert bind(Unfused(Ema(0.9)), TAGS).symmetry == "rotation"


def test_curvature_asked_for_inside_is_that_of_the_whole():
    w = start()
    p = Point(Bend(), w, torch.randn(4, tree.size(w), generator=stream(0, "b"), dtype=torch.float64))
    v = {k: torch.randn(x.shape, generator=stream(1, k), dtype=torch.float64) for k, x in w.items()}
    from adamantine.optim.basis import seen_in

    cuts = Cuts(TAGS, ("query",))
    inside = seen_in(cuts, p.w, p).hvp(cuts.forth(v))
    outside = p.hvp(v)
    assert all(torch.allclose(x, outside[k]) for k, x in cuts.back(inside).items())


def test_refusals_are_sentences():
    with pytest.raises(ValueError, match="bind\\(optimizer, tag"):
        Unfused().init(start())
    with pytest.raises(ValueError, match="'querry' in heads is unknown"):
        Unfused(heads=("querry",))
    short = Tags((("a", Tag("query+key", (Cut("query", 2), Cut("key", 2)))),))
    with pytest.raises(ValueError, match="add to 4 outputs, and it has 5"):
        bind(Unfused(), short).init({"a": torch.zeros(5, 3)})
    odd = Tags((("a", Tag("query", heads=2)),))
    with pytest.raises(ValueError, match="does not divide into 2 heads"):
        bind(Unfused(heads=("query",)), odd).init({"a": torch.zeros(5, 3)})
    with pytest.raises(ValueError, match="could not be told"):
        bind(Unfused(), Tags((("a", Tag("?")),))).init({"a": torch.zeros(5, 3)})
