"""Data: text, byte pairs, digits, glyphs and one's own images, with what each refuses."""

import hashlib
import itertools
import sys
from collections import Counter

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


def test_the_standard_library_is_read_without_its_tests_and_what_was_installed(tmp_path, monkeypatch):
    kept = [f"{n}.py" for n in "abcdefg"]
    for name in (*kept, "test/x.py", "deep/tests/x.py", "site-packages/x.py", "dist-packages/x.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(text.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    order = sorted(kept, key=lambda n: hashlib.sha256(n.encode()).hexdigest())
    assert text.load("stdlib", 1000).decode().split("\n") == order


def test_binary_files_are_known_by_a_zero_or_by_many_control_characters(tmp_path):
    (tmp_path / "zero.txt").write_bytes(b"mostly text" * 50 + b"\0")
    (tmp_path / "control.txt").write_bytes(b"text" + b"\1\2" * 50)
    (tmp_path / "page.txt").write_bytes(b"a page\f" * 3 + b"\1" + "und Umlaute: äöü".encode() * 3)
    assert text.load(str(tmp_path)) == (tmp_path / "page.txt").read_bytes()


def test_files_and_folders(tmp_path):
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.md").write_text("third")
    (tmp_path / ".hidden").write_text("secret")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "d.txt").write_text("secret")
    (tmp_path / "empty.txt").write_text("")
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


def test_a_hugging_face_data_set_with_splits(tmp_path):
    datasets = pytest.importorskip("datasets")
    parts = {n: datasets.Dataset.from_dict({"prose": [f"{n} 1", f"{n} 2"]}) for n in ("train", "validation")}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")
    assert text.load(f"hf:{tmp_path / 'd'}") == b"train 1\ntrain 2"
    assert text.load(f"hf:{tmp_path / 'd'}:validation") == b"validation 1\nvalidation 2"
    assert text.load(f"hf:{tmp_path / 'd'}", 9) == b"train 1\nt"
    with pytest.raises(ValueError, match="split 'test' was not found"):
        text.load(f"hf:{tmp_path / 'd'}:test")


def test_rows_without_a_value_are_left_out_and_do_not_change_the_column(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"text": [None, "two", None, "three"], "title": ["A", "B", "C", "D"]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "d")
    assert text.load(f"hf:{tmp_path / 'd'}") == b"two\nthree"


def test_a_single_split_from_disk_is_read_by_its_own_name_or_none(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["one"]}, split="validation").save_to_disk(tmp_path / "d")
    assert text.load(f"hf:{tmp_path / 'd'}") == text.load(f"hf:{tmp_path / 'd'}:validation") == b"one"
    with pytest.raises(ValueError, match="split 'test' was not found"):
        text.load(f"hf:{tmp_path / 'd'}:test")


def test_without_the_extra_a_sentence_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'adamantine\[hf\]'"):
        text.load("hf:some/name")


@given(st.binary(max_size=300) | st.lists(st.sampled_from([b"a", b"aa", b"ab", b"\n"])).map(b"".join))
def test_byte_pairs_round_trip(data):
    pairs = bpe.train(b"aaabdaaabac" * 5 + b"\n\n\n\n", 270)
    assert pairs.decode(pairs.encode(data)) == data


def slowly_merged(ids, pair, new):
    out, i = [], 0
    while i < len(ids):
        both = tuple(ids[i : i + 2]) == pair
        out.append(new if both else ids[i])
        i += 2 if both else 1
    return out


@given(st.lists(st.sampled_from(b"aab\n"), max_size=60).map(bytes), st.integers(256, 265))
def test_byte_pairs_are_those_of_the_plain_algorithm(data, vocab):
    ids, merges = list(data), []
    while len(merges) < vocab - 256:
        counts = Counter(itertools.pairwise(ids))
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        ids = slowly_merged(ids, best, 256 + len(merges))
        merges.append(best)
    pairs = bpe.train(data, vocab)
    assert pairs.merges == tuple(merges)
    assert pairs.encode(data).tolist() == ids


def test_byte_pairs_are_hugging_faces():
    tokenizers = pytest.importorskip("tokenizers")
    data = text.load("stdlib", 20_000)
    pairs = bpe.train(data, 400)
    words = [pairs.decode([i]).decode("latin-1") for i in range(pairs.size)]
    assert len(set(words)) == len(words), "theirs cannot tell two ways to one word apart"
    merges = [(words[a], words[b]) for a, b in pairs.merges]
    theirs = tokenizers.models.BPE({word: i for i, word in enumerate(words)}, merges)
    found = tokenizers.Tokenizer(theirs).encode(data.decode("latin-1")).ids
    assert pairs.encode(data).tolist() == found


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


def test_byte_pairs_are_learned_from_the_beginning_only():
    assert bpe.train(b"abab" + b"cd" * 50, 257, sample=4).merges == ((97, 98),)


def test_runs_of_one_byte_pair_up_from_the_left():
    assert bpe.Bpe(((97, 97),)).encode(b"aaaaa").tolist() == [256, 256, 97]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: bpe.train(b"abc", 255), "between 256"),
        (lambda: bpe.train(b"abc", 32769), "and 32768"),
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


def test_turning_and_shearing_glyphs_keeps_their_areas():
    still = Glyphs(40, "LX", turn=0, scale=0, shear=0, shift=0, noise=0)
    moved = Glyphs(40, "LX", turn=3, scale=0, shear=0.4, shift=0, noise=0)
    (x, y), (z, same) = (g.draw(200, stream(0, "g")) for g in (still, moved))
    assert torch.equal(y, same)
    ink, turned = ((images + 1).sum((1, 2, 3)) for images in (x, z))
    # The pixels of an atlas twice as fine and a frame that cuts a corner leave a few per cent.
    assert float((turned / ink - 1).abs().mean()) < 0.02


def test_glyphs_grow_by_the_factor_they_name():
    x, z = (Glyphs(40, "LX", 0, s, 0, 0, 0).draw(200, stream(0, "g"))[0] for s in (0, 0.3))
    spread = ((z + 1).sum((1, 2, 3)) / (x + 1).sum((1, 2, 3))).log() / 2
    assert float(spread.abs().max()) < 0.32
    assert float(spread.max()) > 0.26
    assert float(spread.min()) < -0.26


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


def test_pictures_keep_their_classes_and_hold_out_one_in_ten_of_each(tmp_path):
    y = np.repeat([0, 1, 2], [60, 30, 10])
    np.savez(tmp_path / "a.npz", x=np.arange(100, dtype=np.uint8)[:, None, None] + np.zeros((1, 4, 4), np.uint8), y=y)
    pictures = Pictures(str(tmp_path / "a.npz"), 4)
    drawn, held = pictures.draw(3000, stream(0, "p")), pictures.held_out()
    assert torch.bincount(held[1]).tolist() == [6, 3, 1]
    numbers = [((x[:, 0, 0, 0] + 1) * 127.5).round().long() for x, _ in (drawn, held)]
    for found, (_, labels) in zip(numbers, (drawn, held), strict=True):
        assert torch.equal(torch.from_numpy(y)[found], labels)
    assert set(numbers[0].tolist()) == set(range(100)) - set(numbers[1].tolist())


def test_colours_become_grey_and_grey_becomes_colours(tmp_path):
    pictures = saved(tmp_path / "own", "RGB")
    coloured, grey = pictures.held_out()[0], Pictures(pictures.path, 8, 1).held_out()[0]
    assert float((coloured.mean(1) - grey[:, 0]).abs().max()) < 0.1
    again = Pictures(saved(tmp_path / "grey").path, 8, 3).held_out()[0]
    assert torch.equal(again[:, 0], again[:, 2])


def test_sixteen_bits_are_as_bright_as_eight(tmp_path):
    for label, level in (("dark", 50), ("light", 200)):
        (tmp_path / label).mkdir()
        for i in range(10):
            image = np.full((8, 8), level, np.uint8) if i % 2 else np.full((8, 8), 257 * level, np.uint16)
            Image.fromarray(image).save(tmp_path / label / f"{i}.png")
    x, y = Pictures(str(tmp_path), 8).draw(40, stream(0, "p"))
    assert torch.allclose(x, torch.tensor([50.0, 200.0])[y].view(-1, 1, 1, 1).expand_as(x) / 127.5 - 1)


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
        (lambda d: broken(d, x=np.ones((0, 6, 6)), y=np.arange(0)).classes, r"\[N, H, W\]"),
        (lambda d: broken(d, x=np.ones((40, 3, 6, 6)), y=np.arange(40) % 2).classes, "1, 3 or 4 channels"),
        (lambda d: broken(d, x=np.ones((40, 6, 6, 2)), y=np.arange(40) % 2).classes, "1, 3 or 4 channels"),
        (lambda d: broken(d, x=np.ones((40, 6, 6)), y=np.array(3)).classes, r"y of shape \(\)"),
        (lambda d: broken(d, x=np.ones((40, 6, 6)), y=np.arange(40) / 2).classes, "number the classes"),
        (lambda d: broken(d, x=np.ones((40, 6, 6)), y=np.arange(40) - 1).classes, "number the classes"),
        (lambda d: broken(d, x=np.full((40, 6, 6), "a"), y=np.arange(40) % 2).classes, "numbers of"),
        (lambda d: broken(d, x=np.full((40, 6, 6), None), y=np.arange(40) % 2).classes, "numpy.savez"),
        (lambda d: [(d / "no.npz").write_text("text"), Pictures(str(d / "no.npz")).classes], "numpy.savez"),
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
