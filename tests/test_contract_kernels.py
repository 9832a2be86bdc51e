"""Every part, found by walking the package, stepped in place: the functional update, with its C text and without."""

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from test_contract_parts import Surface, copied, instances, is_data, kinds, label
from test_inplace import close

from adamantine import compiler, one_pass, tree
from adamantine.inplace import step
from adamantine.optim.momentum import Momentum
from adamantine.optim.second_moment import Rms
from adamantine.optim.sign import Sign
from adamantine.optim.times import Times
from adamantine.part import Chain, Part
from adamantine.point import Point, stream
from adamantine.until import Until

STEPS = 6
# Texts that look at single coordinates, and those that take means over blocks: new ones are free, none may be lost.
SINGLE = {
    "Adan", "Belief", "Decay", "Ema", "Lion", "Lr", "MaxRms", "Momentum", "MomentumRms", "PreviousRms",
    "ProximalDecay", "RectifiedRms", "Rms", "Sign", "Stored", "Times", "TwoEmas", "WarmNesterov",
}  # fmt: skip
BLOCKS = {"Cautious", "ClipRms", "Confidence", "RankOne", "Relative", "Trust"}


@dataclass(frozen=True)
class Wide(Surface):
    """Rows longer than a vector register and no multiple of one; a vector longer than a block of the codecs."""

    def shapes(self):
        return {"a": (9, 37), "b": (517,), "c": (16, 16), "four": (5, 3, 2, 2), "v": (1,), "e": (3, 33)}

    def losses(self, w, batch):
        return super().losses(w, batch / 8)


def bytes_of(s):
    return sum(x.numel() * x.element_size() for _, x in tree.leaves(s))


def points(w, batches, t):
    return Point(Wide(), w, batches[t], t, STEPS)


@cache
def batches():
    draw = Wide().source(stream(0, "data"))
    w = Wide().init(stream(0, "init"))
    return [draw(w) for _ in range(STEPS)]


def check_in_place(part):
    """Both from the same state at every step, so that a part that enlarges rounding is compared like the others."""
    w = Wide().init(stream(0, "init"))
    s = part.init(w)
    most = bytes_of(s)
    for t in range(STEPS):
        p = points(copied(w), batches(), t)
        u, expected_s = part.update(p.grad, copied(s), p)
        expected_w = tree.add(w, u, -1.0)
        here = points(w, batches(), t)
        grad = copied(here.grad)
        held = {k: x.data_ptr() for k, x in w.items()}
        s = step(part, w, s, here)
        assert held == {k: x.data_ptr() for k, x in w.items()}, "the weights were put elsewhere"
        assert all(torch.equal(grad[k], x) for k, x in here.grad.items()), "a gradient was touched"
        close((w, s), (expected_w, expected_s), 1e-11)
        assert is_data(s)
        most = max(most, bytes_of(s))
    if not isinstance(part, Until):
        assert most == part.state_bytes(w), f"{part!r} keeps {most} bytes and declares {part.state_bytes(w)}"


def texts():
    """The kinds of parts that have C text for a matrix from their defaults: of single coordinates, and with means."""
    single, blocks = set(), set()
    start = Wide().init(stream(0, "init"))
    p = points(start, batches(), 0)
    w = {"a": start["a"]}
    p = p.given({"a": p.grad["a"]}, w)
    for part in instances():
        f = part.fused(part.init(w), p) if type(part) in kinds() and not isinstance(part, (Chain, Until)) else None
        if f is not None:
            (blocks if f.code.means else single).add(type(part).__name__)
    return single, blocks


@pytest.mark.parametrize("part", instances(), ids=label)
def test_equals_the_functional_update(part, monkeypatch):
    real, compiled = one_pass.run, []

    def run(*given):
        compiled.append(real(*given))
        return compiled[-1]

    monkeypatch.setattr(one_pass, "run", run)
    check_in_place(part)
    assert all(compiled) or compiler.compiler() is None, f"{part!r} has text that does not compile"
    if compiled:
        monkeypatch.setattr(one_pass, "run", lambda *given: False)
        check_in_place(part)


def test_no_part_has_lost_its_text():
    single, blocks = texts()
    assert single >= SINGLE
    assert blocks >= BLOCKS
    p = points({"a": torch.ones(3, 2)}, [None], 0)
    assert all(x.fused(x.init(p.w), p).code.means for x in (Rms(0.9, shape=s) for s in ("row", "column", "tensor")))


def test_the_comparison_can_fail():
    @dataclass(frozen=True)
    class Wrong(Part):
        """Its text is not its update."""

        def update(self, u, s, p):
            return u, s

        def fused(self, s, p):
            return Times(1 + 1e-9).fused(s, p)

    @dataclass(frozen=True)
    class Forgetful(Sign):
        """Its text leaves out a state that its update keeps."""

        def update(self, u, s, p):
            return super().update(u, s, p)[0], (1,)

    @dataclass(frozen=True)
    class Greedy(Momentum):
        """Keeps more than it says."""

        def state_bytes(self, w):
            return 0

    for part in (Wrong(), Forgetful(), Greedy()):
        with pytest.raises((AssertionError, ValueError)):
            check_in_place(part)
