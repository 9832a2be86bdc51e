"""The in-place step is the functional update: every part and recipe, every shape of tensor, compiled and plain."""

import pytest
import torch
from problem import TAGS, Problem
from test_contract_parts import label, recipe_functions

from adamantine import compiler, inplace, tree
from adamantine.optim.adafactor import ClipRms, Relative
from adamantine.optim.blockwise import Int4, Int8
from adamantine.optim.cautious import Cautious
from adamantine.optim.companded import Companded8
from adamantine.optim.decay import Decay
from adamantine.optim.floating import Bf16
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema, Momentum
from adamantine.optim.rank_one import RankOne
from adamantine.optim.second_moment import Rms
from adamantine.optim.sign import Sign
from adamantine.optim.stored import Stored
from adamantine.optim.trust import Trust
from adamantine.part import Chain, Part
from adamantine.point import Point, stream
from adamantine.role import bind
from adamantine.route import Route

SHAPES = {"matrix": (33, 47), "four": (5, 3, 2, 2), "vector": (1001,), "scalar": (), "big": (700, 401), "none": (0, 3)}
EQUAL = {torch.float64: 1e-11, torch.float32: 2e-4}

CHAINS = [
    Ema(0.9) >> Rms(0.99) >> Decay(0.1) >> Lr(1e-2),
    Ema(0.9, nesterov=True) >> Rms(0.99, eps=0.0, debias=False) >> Lr(1e-2),
    Ema(0.8, debias=False) >> Rms(0.99, shape="row") >> Lr(1e-2),
    Rms(0.99, shape="column") >> Ema(0.8, debias=False, nesterov=True) >> Decay(0.1) >> Lr(1e-2),
    Ema() >> Rms(0.99, shape="tensor") >> Lr(1e-2),
    Ema() >> Rms(0.99, shape="tensor") >> Rms(0.9, shape="column") >> Lr(1e-2),
    Ema() >> Rms(0.99, shape="all") >> Lr(1e-2),
    Stored(Ema(0.9), Int8(True, 256, 512)) >> Stored(Rms(0.99), Int8(False, 256, 512)) >> Decay(0.1) >> Lr(1e-2),
    Stored(Ema(0.9), Companded8(True, 128, 512)) >> Stored(Rms(0.99), Companded8(False, 128, 512)) >> Lr(1e-2),
    Stored(Ema(0.9), Int4(True, 128, 512)) >> Stored(Rms(0.99), Int4(False, 128, 512)) >> Decay(0.1) >> Lr(1e-2),
    Stored(Ema(0.9), Bf16(least=40)) >> Stored(Rms(0.99), Bf16(least=40)) >> Lr(1e-2),
    Ema(0.9) >> Stored(Rms(0.99), Bf16()) >> Rms(0.9, shape="tensor") >> ClipRms(0.5) >> Lr(1e-2),
    RankOne() >> ClipRms(0.5) >> Ema(0.9) >> Relative() >> Decay(0.1) >> Lr(1e-2),
    RankOne(beta=0.9) >> Rms(0.9, shape="row") >> Lr(1e-2),
    Rms(0.9, shape="row") >> ClipRms(0.5) >> Rms(0.9, shape="row") >> Trust(0.5, 0.1) >> Lr(1e-2),
    Cautious(Ema(0.9)) >> Rms(0.99, shape="row") >> Lr(1e-2),
    Ema(0.9) >> Cautious(Ema(0.8)) >> ClipRms(0.5) >> Lr(1e-2),
    Momentum(0.9, nesterov=True) >> Rms(0.99, shape="row") >> Rms(0.9, shape="column") >> Sign() >> Lr(1e-2),
]

SINGLE = (Ema, Momentum, Rms, Decay, Lr, Sign, Stored)  # what looks at single coordinates, or can


def run(step, part, w, dtype, steps=8):
    rng = stream(0, "gradients")
    s = part.init(w)
    for t in range(steps):
        g = {k: torch.randn(x.shape, generator=rng, dtype=torch.float64).to(dtype) * (t + 1) for k, x in w.items()}
        w, s = step(part, w, s, Point(Problem(), w, None, t, steps).given(g))
    return w, s


def functional(part, w, s, p):
    u, s = part.update(p.grad, s, p)
    return tree.add(w, u, -1.0), s


def in_place(part, w, s, p):
    before = {k: x.clone() for k, x in p.grad.items()}
    s = inplace.step(part, w, s, p)
    assert all(torch.equal(x, before[k]) for k, x in p.grad.items()), "a gradient was touched"
    return w, s


def close(a, b, tolerance, share=0.0):
    for (path, x), (other, y) in zip(tree.leaves(a), tree.leaves(b), strict=True):
        assert path == other
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        if x.dtype in (torch.uint8, torch.bfloat16):  # a number between two of the table may go to either
            assert (x != y).double().sum() <= max(1, 1e-3 * x.numel())
            continue
        far = (x - y).abs() > tolerance * max(1.0, float(y.abs().max()) if y.numel() else 0)
        assert far.double().sum() <= share * x.numel(), path
    assert _numbers(a) == _numbers(b)


def _numbers(x):
    if isinstance(x, dict):
        return {k: _numbers(y) for k, y in x.items()}
    return [_numbers(y) for y in x] if isinstance(x, (tuple, list)) else None if torch.is_tensor(x) else x


@pytest.mark.parametrize("dtype", EQUAL)
@pytest.mark.parametrize("part", CHAINS, ids=label)
def test_equals_the_functional_update(part, dtype):
    w = {k: torch.randn(s, generator=stream(1, k), dtype=torch.float64).to(dtype) for k, s in SHAPES.items()}
    if any(getattr(x, "shape", "full") != "full" or not isinstance(x, SINGLE) for x in part.parts):
        del w["none"]  # the mean of no number is none
    mine = run(in_place, part, {k: x.clone() for k, x in w.items()}, dtype)
    share = 1e-3 if any(isinstance(x, Stored) for x in part.parts) else 0.0
    close(mine, run(functional, part, w, dtype), EQUAL[dtype], share)


@pytest.mark.parametrize("recipe", recipe_functions(), ids=lambda f: f.__name__)
def test_every_recipe_steps_in_place(recipe):
    part, problem = bind(recipe(lr=0.01), TAGS), Problem()

    def train(step):
        w = problem.start()
        s = part.init(w)
        for t in range(12):
            w, s = step(part, w, s, Point(problem, w, problem.batch(t), t, 12))
        return w, s

    close(train(in_place), train(functional), 1e-7)  # a decomposition enlarges rounding


def test_kernels_are_compiled_here():
    if compiler.compiler() is None:
        pytest.skip("no C compiler on this machine: the plain path is all there is")
    w = {"a": torch.ones(3, 2)}
    p = Point(Problem(), w, None).given({"a": torch.ones(3, 2)})
    assert all(x.fused(x.init(w), p) is not None for x in CHAINS[0].parts)
    assert inplace.one_pass.run([x.fused(x.init(w), p) for x in CHAINS[0].parts], w, p.grad, p.grad, w)
    assert float(w["a"].mean()) == pytest.approx(1 - 1e-2 * (1 + 0.1), rel=1e-6)


def test_without_a_compiler_the_plain_path_gives_the_same(monkeypatch):
    monkeypatch.setattr(inplace.one_pass, "run", lambda *given: False)
    test_equals_the_functional_update(CHAINS[0], torch.float64)
    test_equals_the_functional_update(CHAINS[6], torch.float64)


def test_routes_and_strided_tensors():
    part = Route(_wide, Ema() >> Rms(0.9) >> Lr(0.1), Chain((Sign(), Lr(0.1))))
    w = {"a": torch.randn(4, 6, dtype=torch.float64).T, "b": torch.randn(3, dtype=torch.float64)}
    mine = run(in_place, part, {k: x.clone() for k, x in w.items()}, torch.float64)
    close(mine, run(functional, part, w, torch.float64), 1e-12)


def _wide(name, x):
    return x.ndim > 1


def test_other_orders_of_memory_are_walked_too(monkeypatch):
    part = Ema() >> Rms(0.9) >> Decay(0.1) >> Lr(0.1)
    w = {"turned": torch.randn(40, 60, dtype=torch.float64).T, "last": torch.randn(8, 3, 5, 5, dtype=torch.float64)}
    w["last"] = w["last"].to(memory_format=torch.channels_last)
    ran, once = [], inplace.one_pass.run
    monkeypatch.setattr(inplace.one_pass, "run", lambda *given: ran.append(once(*given)) or ran[-1])

    def step(part, w, s, p):
        g = {k: torch.empty_like(x).copy_(p.grad[k]) for k, x in w.items()}
        return in_place(part, w, s, p.given(g))

    mine = run(step, part, {k: x.clone() for k, x in w.items()}, torch.float64)
    close(mine, run(functional, part, w, torch.float64), 1e-12)
    assert ran == [compiler.compiler() is not None] * len(ran)
    mixed = run(in_place, part, {k: x.clone() for k, x in w.items()}, torch.float64)  # gradients lie otherwise
    close(mixed, run(functional, part, w, torch.float64), 1e-12)


def test_the_comparison_can_fail():
    class Wrong(Part):
        def update(self, u, s, p):
            return u, s

        def fused(self, s, p):
            return Sign().fused(s, p)

    w = {"a": torch.randn(4, dtype=torch.float64)}
    with pytest.raises(AssertionError):
        close(run(in_place, Wrong(), dict(w), torch.float64), run(functional, Wrong(), w, torch.float64), 1e-9)
