"""Image recognition: the score is its plain definition, and one's own coloured pictures can be told apart."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from adamantine.data.digits import Digits
from adamantine.data.glyphs import Glyphs
from adamantine.data.pictures import Pictures
from adamantine.nets.mlp import Mlp
from adamantine.nets.resnet import ResNet
from adamantine.nets.vit import Vit
from adamantine.optim.adam import adamw
from adamantine.point import stream
from adamantine.run import Row, Run
from adamantine.tasks.images import RECALIBRATION, Images


def scores(task, steps, rate=5e-3):
    return {r.name: r.value for r in Run(task, adamw(rate), steps, every=steps).events() if isinstance(r, Row)}


@pytest.mark.parametrize("net", [Mlp(), ResNet(), Vit(1, 8, 10)], ids=lambda n: type(n).__name__)
def test_the_score_is_the_mean_over_the_held_out_images(net):
    task = Images(Digits(), net)
    w = task.init(stream(0, "init"))
    x, y = Digits().held_out()
    loss, right = 0.0, 0
    for image, label in zip(x, y, strict=True):
        logits = net(w, image[None])[0]
        loss += float(F.cross_entropy(logits, label))
        right += int(logits.argmax() == label)
    assert task.score(w) == pytest.approx({"held_out": loss / len(y), "accuracy": right / len(y)}, rel=1e-4)


@dataclass(frozen=True)
class Brighter:
    """What is held out is brighter than what is trained on."""

    shape = (1, 8, 8)
    classes = 10

    def draw(self, n, rng):
        return torch.randn(n, 1, 8, 8, generator=rng), torch.randint(10, (n,), generator=rng)

    def held_out(self):
        x, y = self.draw(50, stream(0, "held out"))
        return 2 * x + 3, y


def test_batch_normalization_is_scored_with_the_statistics_of_training_images():
    net = ResNet(1, 10, 4, norm="batch")
    task = Images(Brighter(), net)
    w = task.init(stream(0, "init"))
    x, y = task.data.held_out()
    found = task.score(w)["held_out"]
    seen, _ = task.data.draw(RECALIBRATION, stream(0, "batch statistics"))
    fixed = net.statistics(w, seen)
    alone = [float(F.cross_entropy(net(w, x[i : i + 1], fixed), y[i : i + 1])) for i in range(len(y))]
    assert found == pytest.approx(sum(alone) / len(y), rel=1e-4), "each image by itself"
    assert found != pytest.approx(float(F.cross_entropy(net(w, x), y)), rel=0.1), "not those of the held-out batch"


def test_an_endless_stream_is_learned_below_the_entropy_of_its_classes():
    found = scores(Images(Glyphs(12, "ABCD", noise=0.1), Mlp(144, 4)), 200)
    assert found["held_out"] < math.log(4) - 0.4
    assert found["accuracy"] > 0.6


def test_labels_by_chance_are_not_learned(tmp_path):
    """Else the score would see what it must not."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.random((1000, 6, 6)), y=rng.integers(0, 2, 1000))
    found = scores(Images(Pictures(str(tmp_path / "a.npz"), 6), Mlp(36, 2)), 150)
    assert abs(found["accuracy"] - 0.5) < 4 * math.sqrt(0.25 / 99)
    assert found["held_out"] > math.log(2)


def test_coloured_pictures_of_ones_own_are_told_apart_by_colour(tmp_path):
    """All equally bright: in grey there is nothing to see."""
    rng = np.random.default_rng(0)
    for label, channel in (("blue", 2), ("green", 1), ("red", 0)):
        (tmp_path / label).mkdir()
        for i in range(30):
            image = rng.integers(0, 60, (9, 9, 3), dtype=np.uint8)
            image[..., channel] += 150
            Image.fromarray(image).save(tmp_path / label / f"{i}.png")
    pictures = Pictures(str(tmp_path), 8, 3)
    assert pictures.classes == 3
    for net in (Mlp(192, 3), ResNet(3, 3, 8), Vit(3, 8, 3)):
        assert scores(Images(pictures, net, 16), 40)["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Images(Digits(), Mlp(64, 9)), r"give Mlp\(inputs=64, classes=10"),
        (lambda: Images(Digits(), ResNet(3)), r"give ResNet\(inputs=1, classes=10"),
        (lambda: Images(Digits(), Vit()), r"give Vit\(inputs=1, side=8, classes=10"),
        (lambda: Images(net=torch.nn.Linear(64, 10)), "lacks init, check"),
        (lambda: Images(batch=-1), "at least 1"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_in_a_sentence(make, says):
    with pytest.raises((ValueError, TypeError), match=says):
        make()
