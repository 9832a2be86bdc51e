"""Language modelling: what is trained on, what is held out, and that the score is their plain definition."""

import math

import pytest
import torch
import torch.nn.functional as F

from adamantine.nets.decoder import Decoder
from adamantine.optim.adam import adamw
from adamantine.point import stream
from adamantine.run import Row, Run
from adamantine.tasks import language
from adamantine.tasks.language import Language

TINY = {"context": 8, "width": 16, "depth": 1, "heads": 2}


def held_out(task, steps, rate=1e-2):
    rows = [e for e in Run(task, adamw(rate), steps, every=steps).events() if isinstance(e, Row)]
    return next(r.value for r in rows if r.name == "held_out")


def own(tmp_path, words):
    (tmp_path / "own.txt").write_text(words)
    return Language(str(tmp_path / "own.txt"), model=Decoder(**TINY), batch=4)


def test_the_start_knows_nothing():
    for vocab in (256, 300):
        task = Language(tokens=vocab, model=Decoder(vocab, **TINY), limit=50_000)
        assert task.score(task.init(stream(0, "init")))["held_out"] == pytest.approx(math.log(vocab), abs=0.1)


def test_byte_pairs_say_more_a_token_and_no_less_a_byte(tmp_path):
    """Of a text whose words come at random, all there is to know is which of four comes next: log 4 a word."""
    picked = torch.randint(4, (6000,), generator=stream(0, "words")).tolist()
    words = "".join(("alpha ", "gamma ", "delta ", "omega ")[i] for i in picked)
    (tmp_path / "own.txt").write_text(words)
    path, shared = str(tmp_path / "own.txt"), {"context": 12, "width": 32, "depth": 1, "heads": 2}
    by_byte = held_out(Language(path, model=Decoder(**shared), batch=32), 200)
    by_pair = held_out(Language(path, 280, Decoder(280, **shared), batch=32), 200)
    assert by_byte > math.log(4) / 6
    assert by_byte < 0.6, "far below the frequencies of letters"
    assert by_pair > math.log(4) / 2, "a token may be a word or more"
    assert by_pair < math.log(256) / 2


def test_training_never_sees_what_is_held_out(tmp_path):
    task = own(tmp_path, "a" * 900 + "b" * 100)
    draw = task.source(stream(0, "data"))
    assert {t for _ in range(50) for t in draw({})["x"].unique().tolist()} == {ord("a")}
    w = task.init(stream(0, "init"))
    b = torch.full((1, 8), ord("b"))
    alone = F.cross_entropy(task.model(w, b).flatten(0, 1), b.flatten())
    assert task.score(w)["held_out"] == pytest.approx(float(alone), rel=1e-5)


def test_every_window_of_the_training_text_is_drawn(tmp_path):
    draw = own(tmp_path, "".join(map(chr, range(33, 123))) + "~" * 10).source(stream(0, "data"))
    first = {t for _ in range(400) for t in draw({})["x"][:, 0].tolist()}
    assert first == set(range(33, 33 + 90 - 8)), "the last start leaves a target for every token"


def test_the_score_is_the_mean_over_windows_spread_over_the_held_out_text():
    task = Language(model=Decoder(**TINY), batch=3, limit=20_000, held_out=7)
    w = task.init(stream(0, "init"))
    _, held = task._data()
    total = 0.0
    for i in range(7):
        start = int(i * (len(held) - 9) / 6)
        window = held[start : start + 9].long()
        total += float(F.cross_entropy(task.model(w, window[None, :-1])[0], window[1:]))
    assert task.score(w)["held_out"] == pytest.approx(total / 7, rel=1e-5)


def test_scores_drop_nothing_and_do_not_depend_on_the_batch():
    plain = Language(model=Decoder(**TINY), limit=20_000)
    dropping = Language(model=Decoder(**TINY, dropout=0.5), batch=5, limit=20_000)
    w = plain.init(stream(0, "init"))
    assert dropping.score(w)["held_out"] == pytest.approx(plain.score(w)["held_out"], rel=1e-5)
    assert "seeds" in dropping.source(stream(0, "data"))(w)
    assert "seeds" not in plain.source(stream(0, "data"))(w)


def test_long_texts_are_scored_to_their_end(monkeypatch):
    """Positions beyond 2^24 are no float32 numbers."""
    long = torch.zeros(2**24 + 12, dtype=torch.uint8)
    monkeypatch.setattr(language, "_tokens", lambda *_: (long, long))
    task = Language(model=Decoder(**TINY), held_out=3)
    assert math.isfinite(task.score(task.init(stream(0, "init")))["held_out"])


def test_the_fingerprint_is_the_texts(tmp_path):
    a = own(tmp_path, "one text" * 20)
    first = a.fingerprint()
    language.text.load.cache_clear()
    assert own(tmp_path, "one text" * 20).fingerprint() == first
    language.text.load.cache_clear()
    assert own(tmp_path, "another" * 20).fingerprint() != first


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda d: Language(text=3), 'give "stdlib" or a path'),
        (lambda d: Language(tokens=40_000), "from 256 to 32768"),
        (lambda d: Language(tokens="word"), 'neither "byte"'),
        (lambda d: Language(model=Decoder(100)), r"256 tokens do not fit.*100"),
        (lambda d: Language(limit=0), "limit"),
        (lambda d: Language(held_out=0), "held_out"),
        (lambda d: Language(str(d / "none")).fingerprint(), "no such file"),
        (lambda d: own(d, "too short").score({}), "9 tokens to train on and 0 held out"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, make, says):
    with pytest.raises((ValueError, TypeError), match=says):
        make(tmp_path)
