"""Data: text, byte pairs, digits, glyphs and one's own images, with what each refuses."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adamantine.data import bpe, text
from adamantine.data.digits import Digits
from adamantine.data.digits import split as digits_split
from adamantine.data.glyphs import Glyphs
from adamantine.data.pictures import Pictures
from adamantine.point import stream


@pytest.fixture(autouse=True)
def _fresh():
    text.load.cache_clear()


def test_the_standard_library_is_text_and_always_the_same():
    first = text.load("stdlib", 50_000)
    text.load.cache_clear()
    assert text.load("stdlib", 50_000) == first
    assert len(first) == 50_000
    assert b"def " in first
    assert b"import " in first
    assert text.load("stdlib", 10_000) == first[:10_000]


def test_files_and_folders(tmp_path):
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.md").write_text("third")
    (tmp_path / ".hidden").write_text("secret")
    (tmp_path / "image.bin").write_bytes(b"\0\1\2" * 50)
    assert text.load(str(tmp_path / "a.txt")) == b"first"
    assert text.load(str(tmp_path)) == b"first\nsecond\nthird"
    assert text.load(str(tmp_path), 8) == b"first\nse"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda d: text.load(str(d / "none")), "no such file or folder"),
        (lambda d: text.load(str(d / "blank.txt")), "empty"),
        (lambda d: text.load(str(d / "image.bin")), "binary"),
        (lambda d: text.load(str(d / "void")), "no text file"),
        (lambda d: text.load("stdlib", 0), "limit"),
        (lambda d: text.load("hf:"), "hf:NAME"),
        (lambda d: text.load("hf:a:b:c:d"), "hf:NAME"),
    ],
)
def test_what_is_no_text_is_refused_in_a_sentence(tmp_path, make, says):
    (tmp_path / "void").mkdir()
    (tmp_path / "blank.txt").write_text(" \n ")
    (tmp_path / "image.bin").write_bytes(b"\0\1\2" * 50)
    if "hf" in says:
        pytest.importorskip("datasets")
    with pytest.raises(ValueError, match=says):
        make(tmp_path)


def test_a_split_shares_nothing():
    train, held = text.split(list(range(105)))
    assert (len(train), len(held)) == (95, 10)
    assert train + held == list(range(105))


def test_a_hugging_face_data_set_from_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"n": [1, 2], "text": ["one", "two"], "title": ["A", "B"]}).save_to_disk(tmp_path / "d")
    assert text.load(f"hf:{tmp_path / 'd'}") == b"one\ntwo"
    assert text.load(f"hf:{tmp_path / 'd'}:train:title") == b"A\nB"
    with pytest.raises(ValueError, match="choose one of text, title"):
        text.load(f"hf:{tmp_path / 'd'}:train:n")


def test_without_the_extra_a_sentence_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'adamantine\[hf\]'"):
        text.load("hf:some/name")


@given(st.binary(max_size=300) | st.lists(st.sampled_from([b"a", b"aa", b"ab", b"\n"])).map(b"".join))
def test_byte_pairs_round_trip(data):
    pairs = bpe.train(b"aaabdaaabac" * 5 + b"\n\n\n\n", 270)
    assert pairs.decode(pairs.encode(data)) == data


def test_the_commonest_pair_comes_first_and_text_gets_shorter():
    pairs = bpe.train(b"abababab cdcd", 258)
    assert pairs.merges[0] == (ord("a"), ord("b"))
    data = text.load("stdlib", 100_000)
    learned = bpe.train(data, 512)
    assert learned.size == 512
    ids = learned.encode(data)
    assert len(ids) < 0.65 * len(data)
    assert int(ids.max()) < 512
    assert learned.decode(ids) == data
    assert bpe.train(b"abcdefg", 300).merges == (), "no pair occurs twice"


def test_runs_of_one_byte_pair_up_from_the_left():
    assert bpe.Bpe(((97, 97),)).encode(b"aaaaa").tolist() == [256, 256, 97]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: bpe.train(b"abc", 255), "between 256"),
        (lambda: bpe.Bpe(((300, 2),)), "merge 0"),
        (lambda: bpe.Bpe().decode([256]), "not in a vocabulary"),
    ],
)
def test_impossible_byte_pairs_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_digits_hold_out_a_fifth_of_every_class():
    x, y, test_x, test_y = digits_split()
    assert (len(x) + len(test_x), x.shape[1:]) == (1797, (1, 8, 8))
    assert float(x.min()) == -1
    assert float(x.max()) == 1
    for label in range(10):
        n, held = int((y == label).sum()), int((test_y == label).sum())
        assert held == (n + held) // 5
    drawn, labels = Digits().draw(500, stream(0, "d"))
    known = {(tuple(a.flatten().tolist()), int(b)) for a, b in zip(x, y, strict=True)}
    assert all((tuple(a.flatten().tolist()), int(b)) in known for a, b in zip(drawn, labels, strict=True))


def test_glyphs_never_end_and_are_always_held_out_alike():
    glyphs, rng = Glyphs(alphabet="ABC"), stream(0, "g")
    (a, ya), (b, _) = glyphs.draw(64, rng), glyphs.draw(64, rng)
    assert a.shape == (64, 1, 16, 16)
    assert not torch.equal(a, b)
    assert set(ya.tolist()) == {0, 1, 2}
    assert torch.equal(glyphs.draw(64, stream(0, "g"))[0], a)
    assert torch.equal(glyphs.held_out()[0], Glyphs(alphabet="ABC").held_out()[0])
    assert a.min() >= -1
    assert a.max() <= 1


def test_glyphs_can_be_read():
    """The nearest mean of a class, without noise or motion, is right nearly always."""
    still = Glyphs(alphabet="LOX", turn=0, scale=0, shear=0, shift=0, noise=0)
    x, y = still.draw(300, stream(0, "g"))
    means = torch.stack([x[y == c].mean(0) for c in range(3)])
    nearest = torch.cdist(x.flatten(1), means.flatten(1)).argmin(1)
    assert float((nearest == y).double().mean()) > 0.95
    moved = Glyphs(alphabet="LOX", turn=0, scale=0, shear=0, shift=0.2, noise=0).draw(300, stream(0, "g"))[0]
    assert float((moved - x).abs().mean()) > 0.05


def saved(tmp_path, mode="L", count=12):
    rng = np.random.default_rng(0)
    for label, level in (("cats", 40), ("dogs", 200)):
        (tmp_path / label).mkdir(parents=True)
        for i in range(count):
            shape = (10, 12) if mode == "L" else (10, 12, 3)
            Image.fromarray(np.clip(rng.normal(level, 5, shape), 0, 255).astype(np.uint8)).save(
                tmp_path / label / f"{i}.png"
            )
    return Pictures(str(tmp_path), 8, 1 if mode == "L" else 3)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_folder_of_pictures(tmp_path, mode):
    pictures = saved(tmp_path / "own", mode)
    channels = 1 if mode == "L" else 3
    assert (pictures.shape, pictures.classes) == ((channels, 8, 8), 2)
    x, y = pictures.draw(50, stream(0, "p"))
    assert x.shape == (50, channels, 8, 8)
    assert x[y == 0].mean() < -0.5 < 0.4 < x[y == 1].mean()
    labels = pictures.held_out()[1]
    assert sorted(labels.tolist()) == [0, 1], "one in ten of each class"
    first = pictures.fingerprint()
    Image.new("L", (10, 12), 99).save(tmp_path / "own" / "cats" / "0.png")
    from adamantine.data import pictures as module

    module._load.cache_clear()
    assert pictures.fingerprint() != first


def test_an_array_file_of_pictures(tmp_path):
    x = np.random.default_rng(0).random((40, 6, 6))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 2)
    np.savez(tmp_path / "b.npz", x=(255 * x).round().astype(np.uint8)[..., None], y=np.arange(40) % 2)
    a, b = (Pictures(str(tmp_path / f"{n}.npz"), 6) for n in "ab")
    assert torch.equal(a.held_out()[0], b.held_out()[0])
    assert len(a.held_out()[0]) == 4


def broken(tmp_path, **arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    return Pictures(str(tmp_path / "x.npz"), 6)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda d: Pictures(str(d / "none")).classes, "neither a folder"),
        (lambda d: Pictures(str(d)).classes, "at least two classes"),
        (lambda d: broken(d, a=np.ones(3)).classes, "needs arrays x and y"),
        (lambda d: broken(d, x=np.ones((4, 3)), y=np.arange(4)).classes, r"\[N, H, W\]"),
        (lambda d: broken(d, x=np.full((40, 6, 6), 7.0), y=np.arange(40) % 2).classes, "leaves"),
        (lambda d: saved(d / "few", count=3).classes, "at least 10 images"),
        (lambda d: Pictures(str(d), channels=2), "1 or 3"),
        (lambda d: Glyphs(alphabet="AA"), "different characters"),
        (lambda d: Glyphs(size=2), "size 2"),
        (lambda d: Glyphs(noise=-1), "noise"),
        (lambda d: Glyphs(alphabet="A ").draw(2, stream(0, "g")), "leave them out"),
    ],
)
def test_what_are_no_pictures_is_refused_in_a_sentence(tmp_path, make, says):
    with pytest.raises(ValueError, match=says):
        make(tmp_path)


def test_a_file_that_is_no_image_is_named(tmp_path):
    pictures = saved(tmp_path / "own")
    (tmp_path / "own" / "cats" / "3.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"3\.png.*not an image that can be read"):
        _ = pictures.classes
