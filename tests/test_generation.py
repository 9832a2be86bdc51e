"""Image generation: networks against finite differences, the task and its distance against known answers, the claim."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from adamantine import tree
from adamantine.claim import load, pursue
from adamantine.claims.generation import ADAM, SGD, comparisons
from adamantine.data.digits import Digits
from adamantine.data.glyphs import Glyphs
from adamantine.data.pictures import Pictures
from adamantine.finding import Gallery
from adamantine.nets.dit import Dit
from adamantine.nets.time_embedding import sinusoids
from adamantine.nets.unet import Unet
from adamantine.optim.adam import adam
from adamantine.point import Point, Task, stream
from adamantine.result import Result, Results
from adamantine.run import Row, Run, Trained
from adamantine.store import Store
from adamantine.tasks.energy_distance import energy_distance
from adamantine.tasks.generation import Generation

NETS = (
    Unet(1, 4, 2, groups=2),
    Unet(1, 4, 2, norm="none"),
    Unet(1, 4, 1, groups=2),
    Dit(1, 8, 4, 8, 2, 2),
    Dit(1, 8, 4, 8, 2, 2, norm="rms"),
    Dit(1, 8, 2, 8, 1, 1, norm="none"),
)


def small(net, **named):
    return Generation(Digits(), net, **({"batch": 5, "held_out": 12, "times": 2, "heun": 3} | named))


def stirred(task, dtype=torch.float64):
    """Weights away from the zeros of initialization, where half of the network would go unseen."""
    w, rng = task.init(stream(0, "init")), stream(0, "stir")
    return {k: (x + 0.3 * torch.randn(x.shape, generator=rng)).to(dtype) for k, x in w.items()}


def point(task):
    w = stirred(task)
    return Point(task, w, tree.place(task.source(stream(0, "data"))(w), "cpu", torch.float64))


@pytest.mark.parametrize("net", NETS, ids=repr)
class TestNets:
    def test_zero_before_training_and_finite_after(self, net):
        x, t = torch.randn(3, 1, 8, 8, generator=stream(0, "x")), torch.tensor([0.0, 0.5, 1.0])
        w = net.init(stream(0, "init"))
        assert net(w, x, t).shape == x.shape
        assert not net(w, x, t).any()
        assert net(stirred(net, torch.float32), x, t).isfinite().all()
        assert eval(repr(net)) == net

    def test_an_example_knows_its_time_and_not_its_neighbours(self, net):
        w = stirred(net)
        x, t = torch.randn(3, 1, 8, 8, dtype=torch.float64, generator=stream(0, "x")), torch.tensor([0.1, 0.5, 0.9])
        t = t.double()
        whole = net(w, x, t)
        alone = torch.cat([net(w, x[i : i + 1], t[i : i + 1]) for i in range(3)])
        assert torch.allclose(whole, alone, rtol=0, atol=1e-12)
        later = net(w, x, t + torch.tensor([0.0, 0.05, 0.0]).double())
        assert torch.allclose(whole[[0, 2]], later[[0, 2]], rtol=0, atol=1e-12)
        assert (whole[1] - later[1]).abs().max() > 1e-3

    def test_every_parameter_takes_part(self, net):
        assert all(g.any() for g in point(small(net)).grad.values())

    def test_second_derivatives(self, net):
        p = point(small(net))
        v = {k: torch.randn(x.shape, generator=stream(1, k), dtype=x.dtype) for k, x in p.w.items()}
        eps = 1e-5 / float(tree.norm(v))
        ahead, behind = (p.at(tree.add(p.w, v, s * eps)).grad for s in (1, -1))
        central = tree.each(lambda a, b: (a - b) / (2 * eps), ahead, behind)
        assert float(tree.norm(tree.add(p.hvp(v), central, -1.0)) / tree.norm(central)) < 1e-6

    def test_gradients_split_by_example(self, net):
        p = point(small(net))
        for k, each in p.each_grad().items():
            assert each.shape == (5, *p.w[k].shape)
            assert torch.allclose(each.mean(0), p.grad[k], rtol=1e-9, atol=1e-12), k


def test_blocks_of_a_dit_are_the_identity_before_training():
    net, x, t = Dit(1, 8, 4, 8, 2, 2), torch.randn(2, 1, 8, 8, generator=stream(0, "x")), torch.tensor([0.2, 0.8])
    w = net.init(stream(0, "init")) | {"head.weight": torch.ones(16, 8)}
    head = torch.arange(8.0).expand(16, 8)
    other = {k: x + 1 if "block" in k and "modulation" not in k else x for k, x in w.items()} | {"head.weight": head}
    w["head.weight"] = head
    assert net(w, x, t).any()
    assert torch.equal(net(w, x, t), net(other, x, t))
    w["block1.modulation.bias"] = torch.ones(48)
    assert not torch.allclose(net(w, x, t), net(other, x, t))


def test_a_dit_tells_patches_apart_and_puts_them_back():
    net = Dit(1, 8, 4, 8, 1, 2)
    w, t = stirred(net), torch.tensor([0.5]).double()
    same = net(w, torch.ones(1, 1, 8, 8).double(), t)[0, 0]
    corners = [same[i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)]
    assert all((a - b).abs().max() > 1e-3 for i, a in enumerate(corners) for b in corners[:i])
    x = torch.arange(64.0).view(1, 1, 8, 8)
    w = net.init(stream(0, "init"))
    w["embedding.patch"] = torch.zeros(8, 16)
    w["head.bias"] = torch.arange(16.0)
    assert torch.equal(net(w, x, torch.zeros(1))[0, 0, 4:, :4], torch.arange(16.0).view(4, 4))


def test_sinusoids():
    got = sinusoids(torch.tensor([0.5], dtype=torch.float64), 4, 1.0, 100.0)[0]
    assert got.tolist() == pytest.approx([math.cos(0.5), math.cos(50), math.sin(0.5), math.sin(50)])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Unet(norm="batch"), "Unet: norm 'batch' is not one of group, none"),
        (lambda: Unet(width=6), "does not divide into 4 groups"),
        (lambda: Unet(width=5, norm="none"), "is odd"),
        (lambda: Unet(width=8, groups=8), "normalize away the time"),
        (lambda: Unet(stages=0), "at least 1"),
        (lambda: Unet(3).check((1, 8, 8)), r"give Unet\(inputs=1"),
        (lambda: Unet(stages=4).check((1, 12, 8)), "cannot be halved 3 times"),
        (lambda: Dit(patch=3), "does not divide into patches"),
        (lambda: Dit(width=12, heads=5), "does not divide into 5 heads"),
        (lambda: Dit(width=6, heads=2), "multiple of 4"),
        (lambda: Dit(norm="group"), "Dit: norm 'group' is not one of"),
        (lambda: Generation(Digits(), Dit()), r"give Dit\(inputs=1, side=8"),
        (lambda: Generation(batch=0), "batch is 0"),
        (lambda: Generation(held_out=1), "at least 2"),
        (lambda: Generation(heun=2.5), "heun is 2.5; it must be a whole number"),
        (lambda: energy_distance(torch.zeros(1, 2), torch.zeros(3, 2)), "at least two rows"),
        (lambda: energy_distance(torch.zeros(3, 2), torch.zeros(3, 3)), r"shapes \(3, 2\) and \(3, 3\)"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_what_lacks_a_method_is_refused():
    with pytest.raises(TypeError, match=r"net 3 lacks init, check; give Unet\(\), say"):
        Generation(net=3)
    with pytest.raises(TypeError, match="data 'faces' lacks shape, draw, held_out"):
        Generation("faces")


def test_the_loss_is_the_formula_and_its_randomness_travels_with_the_batch():
    task = small(Unet(1, 4, 2, groups=2))
    assert isinstance(task, Task)
    assert eval(repr(task)) == task
    p = point(task)
    x, noise, t = p.batch["x"], p.batch["noise"], p.batch["t"]
    by_hand = [
        (task.net(p.w, ((1 - t[i]) * noise[i] + t[i] * x[i])[None], t[i : i + 1])[0] - (x[i] - noise[i])).pow(2).mean()
        for i in range(5)
    ]
    assert torch.allclose(task.losses(p.w, p.batch), torch.stack(by_hand))
    assert torch.allclose(p.loss, torch.stack(by_hand).mean())
    assert torch.equal(p.at(p.w).loss, p.loss)
    again = task.source(stream(0, "data"))
    same, other = (tree.place(again(p.w), "cpu", torch.float64) for _ in range(2))
    assert all(torch.equal(same[k], p.batch[k]) and not torch.equal(other[k], p.batch[k]) for k in p.batch)
    assert ((t >= 0) & (t < 1)).all()


@dataclass(frozen=True)
class One:
    """A single image, `value` everywhere."""

    value: float = 0.5
    shape: tuple[int, int, int] = (1, 2, 2)

    def draw(self, n, rng):
        return torch.full((n, *self.shape), self.value), torch.zeros(n)

    def held_out(self):
        return self.draw(20, None)


@dataclass(frozen=True)
class Field:
    """A velocity known in closed form."""

    name: str

    def init(self, rng):
        return {"w": torch.zeros(1, dtype=torch.float64)}

    def check(self, shape):
        pass

    def __call__(self, w, x, t):
        t = t[:, None, None, None]
        fields = {"shrink": -x, "push": t + 0 * x, "straight": (0.5 - x) / (1 - t), "still": 0 * x, "lost": x / 0}
        return fields[self.name]


def fixed(name, **named):
    return Generation(One(), Field(name), **({"batch": 4, "held_out": 20} | named))


def test_the_exact_velocity_has_no_loss():
    task = fixed("straight")
    w = task.init(stream(0, "init"))
    assert task.score(w)["held_out"] < 1e-20
    assert float(task.losses(w, tree.place(task.source(stream(0, "d"))(w), "cpu", torch.float64)).max()) < 1e-12


def test_no_velocity_leaves_the_energy_of_image_and_noise():
    task = Generation(Digits(), Field("still"), held_out=359)
    held = Digits().held_out()[0].square().mean().item()
    assert task.score(task.init(stream(0, "init")))["held_out"] == pytest.approx(1 + held, rel=0.02)


def test_heun_steps_in_closed_form():
    noise = fixed("still").generate({"w": torch.zeros(1, dtype=torch.float64)}, 50)
    inside = noise.abs() < 0.45
    w = {"w": torch.zeros(1, dtype=torch.float64)}
    for n in (1, 3, 8):
        factor = (1 - 1 / n + 0.5 / n**2) ** n
        shrunk = fixed("shrink", heun=n).generate(w, 50)
        assert torch.allclose(shrunk[inside], factor * noise[inside], rtol=1e-12)
        pushed = fixed("push", heun=n).generate(w, 50)  # Heun integrates what is linear in time exactly
        assert torch.allclose(pushed[inside], noise[inside] + 0.5, rtol=1e-12)
    assert torch.equal(fixed("lost").generate(w, 3).abs().round(), fixed("lost").generate(w, 3).abs())


def expected_norm(d, shift):
    """E|X - Y| for standard normal X and Y shifted by `shift`, in d dimensions."""
    return math.sqrt(2) * scipy_stats.ncx2(d, max(shift**2 / 2, 1e-12)).expect(np.sqrt)


def test_distance_by_hand():
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [5.0]])
    assert energy_distance(x, y) == pytest.approx(2 * 10 / 4 - 2 - 4)
    assert energy_distance(y, x) == pytest.approx(-1)
    assert energy_distance(x.expand(2, 7), y.expand(2, 7)) == pytest.approx(-1)


@pytest.mark.parametrize(("d", "shift"), [(1, 0.0), (1, 1.5), (6, 0.0), (6, 2.0)])
def test_distance_is_unbiased_for_shifted_gaussians(d, shift):
    rng, found = stream(d, f"gaussians {shift}"), []
    for _ in range(1500):
        x, y = (torch.randn(n, d, generator=rng, dtype=torch.float64) for n in (5, 7))
        y[:, 0] += shift
        found.append(energy_distance(x, y))
    true = 2 * (expected_norm(d, shift) - expected_norm(d, 0.0)) / math.sqrt(d)
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found) - true) < 4 * error
    # With the pairs of a row with itself the mean would be off by this much.
    assert expected_norm(d, 0.0) / math.sqrt(d) * (1 / 5 + 1 / 7) > 8 * error


def test_distance_in_closed_form_for_large_samples():
    rng = stream(0, "large")
    x, y = (torch.randn(1500, 4, generator=rng) for _ in range(2))
    true = (expected_norm(4, 1.0) - expected_norm(4, 0.0)) * 2 / 2
    assert energy_distance(x, y + torch.tensor([1.0, 0, 0, 0])) == pytest.approx(true, rel=0.15)


def test_real_images_are_at_no_distance_and_others_are():
    glyphs = Generation(Glyphs(12), Field("still"), held_out=200)
    score = glyphs.score({"w": torch.zeros(1)})
    assert abs(score["distance_real"]) < 0.003
    assert score["distance"] > 0.1
    letters = Glyphs(12).draw(200, stream(1, "a"))[0].flatten(1)
    digits = Glyphs(12, "17").draw(200, stream(1, "b"))[0].flatten(1)
    assert energy_distance(letters, digits) > 0.02


@pytest.fixture(scope="module")
def trained():
    out = {}
    for net in (Unet(1, 8, 2), Dit(1, 8, 2, 16, 2, 2)):
        task = Generation(Digits(), net, 32, held_out=128, heun=5)
        events = list(Run(task, adam(1e-2), 150, every=50).events())
        w = next(e.w for e in events if isinstance(e, Trained))
        out[type(net).__name__] = task, w, {e.name: e.value for e in events if isinstance(e, Row)}
    return out


@pytest.mark.parametrize("name", ["Unet", "Dit"])
def test_training_lowers_loss_and_distance(trained, name):
    task, w, last = trained[name]
    first = task.score(task.init(stream("report/0", "init")))
    assert last["held_out"] < 0.5 * first["held_out"]
    assert last["distance"] < 0.2 * first["distance"]
    assert last["distance_real"] == first["distance_real"]
    assert task.score(w) == {k: last[k] for k in ("held_out", "distance", "distance_real")}
    in_double = task.score(tree.place(w, "cpu", torch.float64))
    assert in_double["held_out"] == pytest.approx(last["held_out"], rel=1e-4)
    assert in_double["distance"] == pytest.approx(last["distance"], rel=1e-2, abs=1e-5)


@pytest.mark.parametrize("name", ["Unet", "Dit"])
def test_samples_can_be_shown(trained, name):
    task, w, _ = trained[name]
    for held in (w, tree.place(w, "cpu", torch.float64)):
        drawn = task.samples(held)
        assert {k: x.shape for k, x in drawn.items()} == {"generated": (16, 8, 8), "real": (16, 8, 8)}
        assert all(((x >= 0) & (x <= 1)).all() and x.std() > 0.1 for x in drawn.values())
        assert all(torch.equal(x, task.samples(held)[k]) for k, x in drawn.items())
    # Digits are dark at the rim: what was learned looks like them where noise does not.
    raw = task.samples(task.init(stream(0, "init")))["generated"]
    rims = [x[:, :, [0, -1]].mean().item() for x in (task.samples(w)["generated"], task.samples(w)["real"], raw)]
    assert abs(rims[0] - rims[1]) < 0.1 < abs(rims[2] - rims[1])


def test_samples_of_broken_weights_are_still_images():
    task = small(Unet(1, 4, 2, groups=2))
    w = {k: x * math.nan for k, x in task.init(stream(0, "init")).items()}
    drawn = task.samples(w)["generated"]
    assert torch.equal(drawn, torch.full_like(drawn, 0.5))


def test_colours_and_few_pictures(tmp_path):
    path, rng = tmp_path / "x.npz", np.random.default_rng(0)
    np.savez(path, x=rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8), y=np.arange(40) % 2)
    task = Generation(Pictures(str(path), 8, 3), Unet(3, 4, 2, groups=2), 4, heun=2)
    w = task.init(stream(0, "init"))
    assert {k: tuple(x.shape) for k, x in task.samples(w).items()} == {"generated": (16, 8, 8), "real": (4, 8, 8)}
    assert all(math.isfinite(v) for v in task.score(w).values())
    np.savez(path.with_name("y.npz"), x=rng.integers(0, 256, (12, 8, 8), dtype=np.uint8), y=np.repeat([0, 1], [10, 2]))
    with pytest.raises(ValueError, match="holds out 1 image"):
        replace(task, data=Pictures(str(path.with_name("y.npz")), 8), net=Unet(1, 4, 2, groups=2)).score(w)


@pytest.mark.parametrize("scale", ["tiny", "laptop", "gpu"])
def test_the_networks_of_the_claim_are_of_similar_size(scale):
    one, other = comparisons(scale)
    sizes = [tree.size(c.task.init(stream(0, "init"))) for c in (one, other)]
    assert 0.8 < sizes[0] / sizes[1] < 1.25
    assert replace(one.task, net=other.task.net) == other.task


def test_the_claim_from_end_to_end(tmp_path):
    claim, results, store = load("generation"), Results(), Store(tmp_path)
    events = [e for e in pursue(claim, "tiny", results, store) if isinstance(e, Result)]
    assert {e.status for e in events} == {"done"}
    assert len(events) >= claim.expected("tiny") == 24
    found = claim.verdict("tiny", results)
    assert [f.task for f in found.findings] == ["both networks", "U-Net", "DiT", "U-Net", "DiT", "both networks"]
    assert all(f.n == 3 and f.interval[0] < f.effect < f.interval[1] for f in found.findings)
    by_hand = [np.log(c.last(SGD, results)) - np.log(c.last(ADAM, results)) for c in comparisons("tiny")]
    assert found.findings[0].effect == pytest.approx(100 * math.expm1((by_hand[1] - by_hand[0]).mean()))
    assert found.findings[2].effect == pytest.approx(100 * math.expm1(by_hand[1].mean()))
    drawn = claim.figures("tiny", results)
    gallery = next(x for x in drawn if isinstance(x, Gallery))
    assert [*gallery.rows] == ["real", "U-Net, Adam", "U-Net, SGD", "DiT, Adam", "DiT, SGD"]
    assert {np.shape(rows) for rows in gallery.rows.values()} == {(12, 8, 8)}
    assert len({str(rows) for rows in gallery.rows.values()}) == 5
    assert all(np.min(rows) >= 0 and np.max(rows) <= 1 for rows in gallery.rows.values())
