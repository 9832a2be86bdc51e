"""The real tasks can be learned, in every form they come in; what does not fit together is refused."""

import math

import numpy as np
import pytest
import torch

from adamantine.data import bpe, text
from adamantine.data.digits import Digits
from adamantine.data.glyphs import Glyphs
from adamantine.data.pictures import Pictures
from adamantine.nets.decoder import Decoder
from adamantine.nets.mlp import Mlp
from adamantine.nets.resnet import ResNet
from adamantine.nets.vit import Vit
from adamantine.optim.adam import adamw
from adamantine.optim.clip import Clip
from adamantine.optim.schedule import Cosine
from adamantine.point import stream
from adamantine.run import Row, Run
from adamantine.tasks.images import Images
from adamantine.tasks.language import Language

TINY = {"context": 16, "width": 32, "depth": 1, "heads": 2}


def score(task, rate, steps):
    optimizer = Clip(1.0, adamw(rate, schedule=Cosine(0.1)))
    rows = [e for e in Run(task, optimizer, steps, every=steps).events() if isinstance(e, Row)]
    return {r.name: r.value for r in rows}


def unigram_entropy(tokens):
    """Of the held-out part: what knowing its frequencies, and nothing of their order, would reach."""
    counts = np.bincount(tokens)
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


@pytest.mark.parametrize("more", [{}, {"norm": "rms", "tied": False}, {"norm": "none", "dropout": 0.1}], ids=str)
def test_language_is_learned_beyond_the_frequencies_of_bytes(more):
    task = Language(model=Decoder(**TINY, **more), batch=32, limit=300_000)
    held = np.frombuffer(text.split(text.load("stdlib", 300_000))[1], np.uint8)
    assert score(task, 1e-2, 300)["held_out"] < unigram_entropy(held) - 0.2


def test_language_in_byte_pairs():
    task = Language(tokens=300, model=Decoder(300, **TINY), batch=32, limit=300_000)
    start = task.score(task.init(stream(0, "init")))["held_out"]
    assert start == pytest.approx(math.log(300), abs=0.1)
    train, held = text.split(text.load("stdlib", 300_000))
    assert score(task, 1e-2, 300)["held_out"] < unigram_entropy(bpe.train(train, 300).encode(held)) - 0.2


def test_a_text_of_ones_own(tmp_path):
    (tmp_path / "own.txt").write_text("the quick brown fox jumps over the lazy dog. " * 400)
    task = Language(str(tmp_path / "own.txt"), model=Decoder(**TINY))
    assert score(task, 1e-2, 150)["held_out"] < 0.5, "it repeats itself"
    batch = task.source(stream(0, "data"))({})
    assert torch.equal(batch["x"][:, 1:], batch["y"][:, :-1]), "targets are one token later"


@pytest.mark.parametrize(
    "net", [Mlp(), ResNet(norm="batch"), ResNet(), ResNet(norm="none"), Vit(1, 8, 10)], ids=lambda n: repr(n)[:60]
)
def test_digits_are_told_apart_by_every_network(net):
    found = score(Images(Digits(), net), 5e-3, 120)
    assert found["accuracy"] > 0.85
    assert found["held_out"] < 0.6


def test_glyphs_are_told_apart():
    assert score(Images(Glyphs(alphabet="ABCD"), Mlp(256, 4)), 5e-3, 200)["accuracy"] > 0.6


def test_pictures_of_ones_own_are_told_apart(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = np.clip(rng.normal(0.5, 0.2, (200, 8, 8)) + 0.3 * (y[:, None, None] - 0.5), 0, 1)
    np.savez(tmp_path / "own.npz", x=x, y=y)
    assert score(Images(Pictures(str(tmp_path / "own.npz"), 8), Mlp(64, 2)), 5e-3, 60)["accuracy"] > 0.8


def test_batch_normalization_is_recalibrated_for_scoring():
    task = Images(Digits(), ResNet(norm="batch"))
    assert not task.splits
    w = task.init(stream(0, "init"))
    assert task.score(w) == task.score(w)
    assert math.isfinite(task.score({k: 3 * x for k, x in w.items()})["held_out"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda d: Language(tokens=300), r"give model=Decoder\(vocab=300"),
        (lambda d: Language(tokens=10), "neither"),
        (lambda d: Language(model="gpt2"), "give a Decoder"),
        (lambda d: Language(batch=0), "batch"),
        (lambda d: Language(str(d / "short.txt")).source(stream(0, "d")), "more text or a shorter context"),
        (lambda d: Images(Glyphs()), r"give Mlp\(inputs=256, classes=34"),
        (lambda d: Images(data="digits"), "give Digits"),
        (lambda d: Images(batch=0), "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, make, says):
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises((ValueError, TypeError), match=says):
        make(tmp_path)
