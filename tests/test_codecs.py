"""Codecs stay within the error they state, take the bytes they state, and `Stored` only rounds between steps."""

from dataclasses import dataclass

import pytest
import torch

from adamantine import tree
from adamantine.optim.blockwise import Int4, Int8, dynamic_map
from adamantine.optim.companded import Companded8
from adamantine.optim.floating import Bf16, Fp32
from adamantine.optim.low_bit import adamw_4bit, adamw_8bit
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms
from adamantine.optim.stored import Codec, Stored
from adamantine.point import Point, stream

BLOCKS = [Int8(block=16, least=1), Int8(False, 16, 1), Int4(block=16, least=1), Int4(False, 16, 1)]
BLOCKS += [Companded8(block=16, least=1), Companded8(False, 16, 1)]
FLOATS = [Fp32(), Bf16(), Bf16(error=True)]
BOUND = {("Int8", True): 0.00704, ("Int8", False): 0.00352, ("Int4", True): 0.1126, ("Int4", False): 1 / 16 + 1e-9}
BOUND |= {("Companded8", True): 1 / 127, ("Companded8", False): 1 / 255}


def sample(n, dtype, positive=False):
    """Numbers over twenty binary orders of magnitude, some zero."""
    rng = stream(0, f"codec/{n}")
    x = torch.randn(n, generator=rng, dtype=torch.float64) * 2.0 ** torch.randint(-20, 1, (n,), generator=rng)
    x[:: max(n // 5, 1)] = 0
    return (x.square() if positive else x).to(dtype)


def kept_bytes(s):
    return sum(x.numel() * x.element_size() for _, x in tree.leaves(s))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 7, 16, 33, 1000])
@pytest.mark.parametrize("codec", BLOCKS, ids=repr)
def test_blocks_keep_their_bound_and_bytes(codec, n, dtype):
    x = sample(n, dtype, not codec.signed)
    before, s = x.clone(), codec.encode(x)
    y = codec.decode(s, torch.empty_like(x, device="meta"))
    assert torch.equal(x, before)
    assert y.dtype == dtype
    assert y.shape == x.shape
    assert kept_bytes(s) == codec.size_bytes(x)
    for a, b in zip(x.split(16), y.split(16), strict=True):
        assert float((a - b).abs().max()) <= BOUND[type(codec).__name__, codec.signed] * float(a.abs().max()) * 1.00001


@pytest.mark.parametrize("codec", FLOATS, ids=repr)
def test_floats_keep_their_bound_and_bytes(codec):
    bound = {Fp32(): 2**-24, Bf16(): 2**-8, Bf16(error=True): 1.55e-5}[codec]
    x = sample(20000, torch.float64)
    y = codec.decode(codec.encode(x), x)
    assert kept_bytes(codec.encode(x)) == codec.size_bytes(x)
    assert bool(((x - y).abs() <= bound * x.abs() * 1.0001).all())
    assert float(((x - y).abs() / x.abs().clamp_min(1e-30)).max()) > bound / 3


@pytest.mark.parametrize("codec", [*BLOCKS, *FLOATS], ids=repr)
def test_what_was_decoded_is_kept_exactly(codec):
    x = sample(500, torch.float64, getattr(codec, "signed", True) is False)
    once = codec.decode(codec.encode(x), x)
    # Without a value at 1 below zero the largest of a block can shrink, but only where it was negative.
    same = codec.decode(codec.encode(once), x)
    blocks = list(zip(x.split(16), once.split(16), same.split(16), strict=True))
    assert all(torch.allclose(b, c, rtol=1e-6) for a, b, c in blocks if float(a.max()) == float(a.abs().max()))


@pytest.mark.parametrize("codec", [*BLOCKS, *FLOATS], ids=repr)
def test_zero_stays_zero(codec):
    x = torch.zeros(40)
    assert torch.equal(codec.decode(codec.encode(x), x), x)
    assert isinstance(codec, Codec)


@pytest.mark.parametrize("codec", [Int4(False, 16, 1)], ids=repr)
def test_a_second_moment_in_four_bits_is_never_zero(codec):
    x = sample(64, torch.float32, positive=True)
    assert bool((codec.decode(codec.encode(x), x) > 0).all())


def test_tables_have_a_value_for_every_code():
    for decades, signed in ((7, True), (7, False), (3, True)):
        table = dynamic_map(decades, signed, torch.float64, torch.device("cpu"))
        assert len(table.unique()) == 2 ** (decades + 1)
        assert 0.0 in table
        assert table[-1] == 1


@dataclass(frozen=True)
class Valley:
    """A quadratic with a tensor large enough to be encoded and one that is not."""

    splits = True

    def losses(self, w, batch):
        return sum((x.square() * torch.linspace(0.5, 2, x.numel()).view_as(x)).sum() for x in w.values()) + batch


def start():
    return {"big": torch.randn(64, 70, generator=stream(0, "big")), "small": torch.ones(50)}


def run(part, steps=60):
    w = start()
    s = part.init(w)
    for step in range(steps):
        p = Point(Valley(), w, torch.zeros(1), step, steps)
        u, s = part.update(p.grad, s, p)
        w = tree.add(w, u, -1.0)
    return w, s


@pytest.mark.parametrize(("recipe", "near"), [(adamw_8bit, 0.05), (adamw_4bit, 0.3)])
def test_low_bit_adamw_goes_where_adamw_goes(recipe, near):
    exact, _ = run(recipe(0.01, least=10**9))
    w, s = run(recipe(0.01))
    moved = tree.add(exact, start(), -1.0)
    assert torch.equal(w["small"], exact["small"])
    assert 0 < float((w["big"] - exact["big"]).norm() / moved["big"].norm()) < near
    assert kept_bytes(s) == recipe(0.01).state_bytes(start())


def test_bytes_of_eight_and_four_bits():
    w = {"w": torch.zeros(1024, 1024)}
    n = 1024 * 1024
    assert adamw_8bit(0.1).state_bytes(w) == 2 * (n + 4 * n // 256)
    assert adamw_4bit(0.1).state_bytes(w) == 2 * (n // 2 + 4 * n // 128)


@pytest.mark.parametrize("inner", [Ema(0.9), Rms(0.9), Rms(0.9, shape="row"), Ema(0.9) >> Rms(0.9)], ids=repr)
@pytest.mark.parametrize("codec", [Int8(block=16, least=60), Bf16(least=60), Bf16(True, 1)], ids=repr)
def test_stored_is_encode_after_every_step(inner, codec):
    part = Stored(inner, codec)
    w = {k: x.double() for k, x in start().items()}
    s, plain = part.init(w), inner.init(w)
    for step in range(3):
        grad = {k: torch.randn(x.shape, generator=stream(step, k), dtype=x.dtype) for k, x in w.items()}
        p = Point(Valley(), w, None, step, 3).given(grad)
        u, s = part.update(grad, s, p)
        expected, plain = inner.update(grad, plain, p)
        assert all(torch.equal(u[k], expected[k]) for k in w)
        plain = part.decoded(part.encoded(plain))
        assert str(part.decoded(s)) == str(plain)
        assert kept_bytes(s) == part.state_bytes(w)


def test_errors_say_what_to_do():
    with pytest.raises(TypeError, match="codec is a int"):
        Stored(Ema(), 8)
    with pytest.raises(ValueError, match="block = 0"):
        Int8(block=0)
