"""What the matrix methods promise beyond the loops of their papers: stacks, fused tensors, precision, divergence."""

import math

import pytest
import torch
from problem import TAGS, Problem

from adamantine.optim.apollo import ScaledGradient, apollo, apollo_mini
from adamantine.optim.fira import fira
from adamantine.optim.galore import galore
from adamantine.optim.low_rank import LowRank
from adamantine.optim.muon import muon
from adamantine.optim.normuon import EqualRows, normuon
from adamantine.optim.polar import Orthogonalize, newton_schulz, polar_express, svd_polar
from adamantine.optim.psgd_kron import Kron, psgd_kron
from adamantine.optim.scion import scion
from adamantine.optim.shampoo import Roots, shampoo
from adamantine.part import Chain
from adamantine.point import Point, stream
from adamantine.role import Cut, Tag, Tags, bind

RECIPES = [muon, normuon, scion, galore, fira, apollo, apollo_mini, psgd_kron, shampoo]


def drawn(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=stream(0, str(shape)), dtype=torch.float64).to(dtype)


def stepped(part, w, g, s=None, step=0):
    p = Point(Problem(), w, None, step, 10).given(g)
    return part.update(p.grad, part.init(w) if s is None else s, p)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_the_polar_factor_is_nearest_orthogonal(shape):
    g = drawn(*shape)
    q = svd_polar(g)
    small = q.T @ q if shape[0] >= shape[1] else q @ q.T
    assert torch.allclose(small, torch.eye(min(shape), dtype=g.dtype), atol=1e-12)
    assert torch.allclose(polar_express(g, 12), q, atol=1e-9)
    values = torch.linalg.svdvals(newton_schulz(g))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_a_matrix_of_low_rank_has_a_polar_factor_of_that_rank():
    q = svd_polar(drawn(6, 2) @ drawn(2, 5))
    assert torch.allclose(torch.linalg.svdvals(q), torch.tensor([1.0, 1, 0, 0, 0], dtype=q.dtype), atol=1e-12)


@pytest.mark.parametrize("part", [Orthogonalize(), Orthogonalize("svd"), Orthogonalize("polar-express"), EqualRows()])
def test_each_expert_of_a_stack_is_a_matrix_of_its_own(part):
    tags = Tags((("up", Tag("up", experts=3)), ("conv", Tag("convolution"))))
    g = {"up": drawn(3, 4, 2), "conv": drawn(3, 4, 2)}
    out, _ = stepped(bind(part, tags), g, g)
    for i in range(3):
        alone, _ = stepped(part, {"x": g["up"][i]}, {"x": g["up"][i]})
        assert torch.allclose(out["up"][i], alone["x"], atol=1e-12)
    flat, _ = stepped(part, {"x": g["conv"].flatten(1)}, {"x": g["conv"].flatten(1)})
    assert torch.allclose(out["conv"].flatten(1), flat["x"], atol=1e-12)


@pytest.mark.parametrize("recipe", [muon, normuon, scion, galore])
def test_a_fused_tensor_is_stepped_part_by_part(recipe):
    roles = ("query", "key", "value")
    fused = Tags((("qkv", Tag("query+key+value", tuple(Cut(role, 4) for role in roles))),))
    apart = Tags(tuple((role, Tag(role)) for role in roles))
    w, g = drawn(12, 4), drawn(12, 4) ** 3
    one, _ = stepped(bind(recipe(lr=0.1), fused), {"qkv": w}, {"qkv": g})
    split = [dict(zip(roles, x.split(4), strict=True)) for x in (w, g)]
    three, _ = stepped(bind(recipe(lr=0.1), apart), *split)
    assert torch.allclose(one["qkv"], torch.cat([three[role] for role in roles]), atol=1e-12)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_gradient_shows_in_the_step_and_raises_nothing(recipe, bad):
    w = Problem().start()
    part = bind(recipe(lr=0.1), TAGS)
    good = {k: torch.ones_like(x) for k, x in w.items()}
    u, s = stepped(part, w, good)
    u, s = stepped(part, w, {k: x * bad for k, x in good.items()}, s, 1)
    assert not all(torch.isfinite(x).all() for x in u.values())
    stepped(part, w, good, s, 2)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions_keep_their_dtype(recipe, dtype):
    w = {k: x.to(dtype) for k, x in Problem().start().items()}
    part, s = bind(recipe(lr=0.1), TAGS), None
    for step in range(3):
        u, s = stepped(part, w, {k: drawn(*x.shape).to(dtype) for k, x in w.items()}, s, step)
        assert all(u[k].dtype == dtype and torch.isfinite(u[k]).all() for k in w)
        w = {k: x - u[k] for k, x in w.items()}


def test_half_precision_is_orthogonalized_in_float32():
    g = drawn(6, 4, dtype=torch.bfloat16)
    out, _ = stepped(Orthogonalize(), {"x": g}, {"x": g})
    exact = newton_schulz(g.float()) * (6 / 4) ** 0.5
    assert torch.equal(out["x"], exact.to(torch.bfloat16))


def test_low_rank_keeps_what_the_leading_vectors_span():
    g = drawn(6, 4)
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    out, state = stepped(LowRank(2, Chain()), {"x": g}, {"x": g})
    assert torch.allclose(out["x"], (u[:, :2] * s[:2]) @ vh[:2], atol=1e-12)
    whole, _ = stepped(LowRank(2, Chain(), residual="scaled"), {"x": g}, {"x": g})
    assert torch.allclose(whole["x"], g, atol=1e-7)
    assert state[1]["x"].shape == (4, 2)


def test_a_random_projection_is_kept_for_an_interval_and_takes_no_memory():
    part, w = ScaledGradient(2, Chain(), every=3), {"x": drawn(6, 4)}
    drawings = [part._projection(w, 0, t).matrices["x"] for t in range(4)]
    assert torch.equal(drawings[0], drawings[2])
    assert not torch.equal(drawings[2], drawings[3])
    assert part.state_bytes(w) == 0


def test_shampoo_at_first_is_the_polar_factor():
    g = drawn(4, 4)
    out, _ = stepped(Roots(eps=1e-14), {"x": g}, {"x": g})
    assert torch.allclose(out["x"], svd_polar(g), atol=1e-6)


def test_kron_learns_to_whiten():
    part, w, s, out = Kron(fit="gradient"), {"x": torch.zeros(3, 2, dtype=torch.float64)}, None, []
    left, right = torch.tensor([[3.0], [1.0], [0.3]]).double(), torch.tensor([[1.0, 0.5], [0.0, 2.0]]).double()
    for t in range(500):
        g = left * torch.randn(3, 2, generator=stream(t, "g"), dtype=torch.float64) @ right
        u, s = stepped(part, w, {"x": g}, s, t)
        out.append(u["x"].flatten())
    last = torch.stack(out[200:])
    spread = torch.linalg.eigvalsh(last.T @ last / len(last))
    assert spread.min() > 0.5
    assert spread.max() < 2.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Orthogonalize("qr"), "Orthogonalize: method = 'qr' is unknown"),
        (lambda: Orthogonalize(steps=0), "whole number of at least 1"),
        (lambda: LowRank(0), "LowRank: rank = 0"),
        (lambda: Kron(least=0.0), r"Kron: least = 0.0 must lie in \(0, 1\]"),
        (lambda: Roots(beta=1.5), r"Roots: beta = 1.5 must lie in \[0, 1\]"),
        (lambda: shampoo(0.1, graft="lion"), "shampoo: graft = 'lion' is unknown"),
    ],
)
def test_a_hyperparameter_out_of_range_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("method", ["newton-schulz", "polar-express"])
def test_bfloat16_is_near_and_only_on_request(method):
    w = {"a": torch.randn(64, 96, generator=stream(0, "bf16"))}
    p = Point(None, w, None).given(w)
    own, half = (Orthogonalize(method, precision=x).update(w, (), p)[0]["a"] for x in ("own", "bfloat16"))
    assert own.dtype == half.dtype == torch.float32
    apart = float((own - half).norm() / own.norm())
    assert 1e-3 < apart < 0.06
