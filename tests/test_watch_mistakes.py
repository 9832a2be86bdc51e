"""What users get wrong with `adamantine.watch`: a sentence each, and training goes on."""

import logging
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from test_derivatives import Squared
from test_watch import DENSITY, Noise, Seen, fixed, small, smooth, stepped
from torch import nn
from torch.utils.checkpoint import checkpoint

import adamantine
from adamantine.point import Point, stream
from adamantine.probes.batch_sharpness import BatchSharpness
from adamantine.probes.density import GradientDensity
from adamantine.probes.sharpness import Sharpness
from adamantine.store import Store
from adamantine.watching.loss import understood
from adamantine.watching.task import WatchedTask


class Each:
    """A probe that asks for the gradients of single examples."""

    @property
    def units(self):
        return {"each": "how many"}

    def __repr__(self):
        return "Each()"

    def __call__(self, p):
        return {"each": float(len(next(iter(p.each_grad().values()))))}


def watching(tmp_path, loss=smooth, model=None, probes=(GradientDensity(),), **given):
    model = model or small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return model, optimizer, adamantine.watch(model, optimizer, loss, probes=probes, every=1, store=tmp_path, **given)


def weights():
    return [nn.Parameter(torch.zeros(2))]


class Sharded(nn.Linear):
    """A parameter that says it is a DTensor."""

    def __init__(self):
        super().__init__(2, 2)
        self.weight.full_tensor = None


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"model": "net"}, TypeError, "model is 'net'"),
        ({"model": Sharded()}, ValueError, "sharded over processes"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be a torch.optim.Optimizer"),
        ({"optimizer": torch.optim.SGD(weights(), 0.1)}, ValueError, "steps no parameter of the model"),
        ({"loss": 3}, TypeError, "loss is 3"),
        ({"loss": lambda out: out}, TypeError, "function of \\(model, batch\\)"),
        ({"data": iter([1])}, TypeError, "used up"),
        ({"data": 7}, TypeError, "data is int"),
        ({"probes": [Sharpness]}, TypeError, "give instances"),
        ({"every": 0}, ValueError, "every is 0"),
        ({"every": True}, ValueError, "every is True"),
        ({"every": {Sharpness(): 3}}, ValueError, "not among the probes"),
        ({"budget": 10}, ValueError, "a share of the time between 0 and 1"),
        ({"to": [print]}, TypeError, "add_scalar"),
    ],
    ids=lambda x: str(x)[:30],
)
def test_what_cannot_be_watched_is_refused_in_a_sentence(given, kind, words, tmp_path):
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    whole = {"model": model, "optimizer": optimizer, "loss": smooth, "probes": [GradientDensity()], **given}
    with pytest.raises(kind, match=words) as caught:
        adamantine.watch(**whole, store=tmp_path)
    assert str(caught.value).startswith("watch: ")
    assert str(caught.value).endswith(".")
    assert not optimizer._optimizer_step_pre_hooks, "nothing listens"
    assert not any(tmp_path.iterdir())


def test_a_sampler_that_cannot_be_repeated(tmp_path):
    class Odd(torch.utils.data.Sampler):
        def __iter__(self):
            return iter([0])

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(3)), sampler=Odd())
    with pytest.raises(TypeError, match="Odd"):
        watching(tmp_path, data=loader)


def test_a_probe_that_fails_is_unavailable_and_training_goes_on(tmp_path, caplog):
    class Fails:
        times = 0

        def __repr__(self):
            return "Fails()"

        def __call__(self, p):
            self.times += 1
            if self.times != 2:
                raise ValueError("Fails: not today.")
            return 1.0

    fails = Fails()
    model, optimizer, watch = watching(tmp_path, probes=[fails, GradientDensity()])
    stepped(model, optimizer, fixed(1), watch)
    assert watch.unavailable == {"Fails()": "Fails: not today."}
    stepped(model, optimizer, fixed(1), watch)
    assert watch.unavailable == {}
    stepped(model, optimizer, fixed(6), watch)
    assert fails.times == 5, "after three failures in a row it is given up"
    held = watch.result.provenance["unavailable"]["Fails()"]
    assert held == {"why": "Fails: not today.", "step": 2, "given_up": True}
    assert len(watch.result.series(DENSITY)[0]) == 8
    told = [r for r in caplog.records if "Fails()" in r.message]
    assert [r.levelno for r in told] == [logging.WARNING] * 2
    watch.close(page=False)
    assert next(Store(tmp_path).results()).provenance["unavailable"]["Fails()"]["given_up"]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), MemoryError(),
              RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")],
    ids=lambda x: type(x).__name__,
)  # fmt: skip
def test_memory_exhausted_by_a_product(error, tmp_path):
    class Greedy:
        def __init__(self):
            self.held = []

        def __repr__(self):
            return "Greedy()"

        def __call__(self, p):
            p.hvp(p.w)
            p.memo["huge"] = torch.zeros(10)
            self.held.append(p.memo)
            raise error

    model, optimizer, watch = watching(tmp_path, probes=[greedy := Greedy(), GradientDensity()])
    stepped(model, optimizer, fixed(2), watch)
    assert "more memory than there is" in watch.unavailable["Greedy()"]
    assert "huge" not in greedy.held[-1]
    assert len(watch.result.series(DENSITY)[0]) == 2


def test_a_loss_that_is_a_scalar(tmp_path):
    def mean(model, batch):
        return smooth(model, batch).mean()

    model, optimizer, watch = watching(tmp_path, mean, probes=[Each(), Sharpness(3), GradientDensity()])
    stepped(model, optimizer, fixed(2), watch, mean)
    assert "one number an example" in watch.unavailable["Each()"]
    assert [*watch.unavailable] == ["Each()"]
    assert watch.notes == ()


def test_a_loss_that_is_a_sum(tmp_path):
    def total(model, batch):
        return smooth(model, batch).sum()

    model, optimizer, watch = watching(tmp_path, total)
    stepped(model, optimizer, fixed(2), watch, total)
    (note,) = watch.notes
    assert "a sum over examples, not their mean" in note


@pytest.mark.parametrize("wrong", [lambda x: x[:, None], lambda x: (x * 100).long(), lambda x: [x], lambda x: None])
def test_a_loss_of_another_shape(wrong, tmp_path):
    model, optimizer, watch = watching(tmp_path, lambda m, b: wrong(smooth(m, b)))
    stepped(model, optimizer, fixed(2), watch)
    (note,) = watch.notes
    assert note.startswith("Nothing could be measured at step 0: watch: the loss gave")
    assert "shape [B]" in note
    assert not watch.result.rows


def test_ignored_targets_in_some_batches_only(tmp_path):
    loss = nn.CrossEntropyLoss(ignore_index=2)
    batches = [(x, torch.full_like(y, i)) for i, (x, y) in enumerate(fixed(2))]
    batches.append(fixed(1)[0])
    model, optimizer, watch = watching(tmp_path, loss, probes=[Each()])
    stepped(model, optimizer, batches, watch, lambda m, b: loss(m(b[0]), b[1]))
    assert watch.result.series("each")[0].tolist() == [0, 1]
    assert "some targets are ignored" in watch.unavailable["Each()"]


def test_a_batch_that_does_not_fit_the_criterion(tmp_path):
    model, optimizer, watch = watching(tmp_path, nn.CrossEntropyLoss())
    batch = fixed(1)[0]
    smooth(model, batch).mean().backward()
    optimizer.step()
    watch.step({"x": batch[0], "y": batch[1]})
    assert "must be a pair (inputs, target)" in watch.notes[0]


def test_no_batch(tmp_path):
    model, optimizer, watch = watching(tmp_path)
    smooth(model, fixed(1)[0]).mean().backward()
    optimizer.step()
    watch.step()
    assert "give watch.step the batch" in watch.notes[0]
    stepped(model, optimizer, fixed(1), watch)
    assert watch.result.series("loss")[0].tolist() == [1]


def test_data_that_were_not_given(tmp_path):
    model, optimizer, watch = watching(tmp_path, probes=[BatchSharpness(2), GradientDensity()])
    stepped(model, optimizer, fixed(1), watch)
    assert "give watch(data=...)" in watch.unavailable["BatchSharpness(batches=2)"]


def test_batch_normalization(tmp_path):
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    model, optimizer, watch = watching(tmp_path, model=model, probes=[Each(), Sharpness(3)])
    stepped(model, optimizer, fixed(2), watch)
    assert "BatchNorm" in watch.unavailable["Each()"]
    assert [*watch.unavailable] == ["Each()"]


def test_parameters_that_took_no_part(tmp_path):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x):
            return self.used(x)

    seen = Seen()
    model, optimizer, watch = watching(tmp_path, model=Model(), probes=[seen, Sharpness(3)])
    stepped(model, optimizer, fixed(3), watch)
    assert ["idle.weight" in watch.notes[0], "idle.bias" in watch.notes[1], len(watch.notes)] == [True, True, 2]
    assert float(seen.points[0].grad["idle.weight"].abs().max()) == 0
    assert watch.unavailable == {}


def test_a_loss_that_is_not_a_number(tmp_path):
    model, optimizer, watch = watching(tmp_path, probes=[Sharpness(3), GradientDensity()])
    good, (x, y) = fixed(1)[0], fixed(1)[0]
    stepped(model, optimizer, [good, (x * math.nan, y), (x * math.nan, y)], watch)
    assert watch.notes == ("The loss was nan at step 1.",)
    assert watch.unavailable == {}
    for name in ("loss", "sharpness", DENSITY):
        values = watch.result.series(name)[1]
        assert [math.isnan(v) for v in values] == [False, True, True], name


def test_a_model_that_changes_from_call_to_call(tmp_path):
    class Drifts(nn.Module):
        calls = 0

        def forward(self, x):
            Drifts.calls += 1
            return x * (1 + 0.1 * Drifts.calls)

    class Norm:
        def __repr__(self):
            return "Norm()"

        def __call__(self, p):
            return {"norm": float(sum(x.square().sum() for x in p.u.values()))}

    model, optimizer, watch = watching(
        tmp_path, model=nn.Sequential(small(), Drifts()), probes=[Norm(), GradientDensity()]
    )
    stepped(model, optimizer, fixed(2), watch)
    assert "change from call to call" in watch.notes[0]
    assert [*watch.unavailable] == [repr(GradientDensity())]
    assert watch.result.series("norm")[0].tolist() == [0, 1], "what asks for no loss is measured"


def test_hooks_that_change_the_result_alike_are_no_trouble(tmp_path):
    model = small()
    model[0].register_forward_hook(lambda module, inputs, out: out * 2)
    seen = Seen()
    model, optimizer, watch = watching(tmp_path, model=model, probes=[seen])
    stepped(model, optimizer, fixed(1), watch)
    assert watch.notes == ()


def test_another_loss_or_batch_than_the_one_in_training(tmp_path):
    model, optimizer, watch = watching(tmp_path, lambda m, b: -smooth(m, b))
    stepped(model, optimizer, fixed(1), watch)
    assert "cosine of -1.00" in watch.notes[0]
    model = nn.Sequential(small(), Noise())
    model, optimizer, watch = watching(tmp_path, lambda m, b: -smooth(m, b), model=model)
    stepped(model, optimizer, fixed(1), watch)
    assert watch.notes == (), "where masks differ, gradients may"


@pytest.mark.parametrize("when", ["_look_before", "_look_after"])
def test_memory_exhausted_inside_the_optimizers_step(when, tmp_path, monkeypatch):
    model, optimizer, watch = watching(tmp_path)
    bare = small()
    other = torch.optim.SGD(bare.parameters(), 0.1)

    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr(watch._steps, when, refuse)
    for batch in fixed(2):
        stepped(model, optimizer, [batch], watch)
        other.zero_grad()
        smooth(bare, batch).mean().backward()
        other.step()
    assert "more memory than there is" in watch.notes[0]
    assert all(torch.equal(x, y) for x, y in zip(model.parameters(), bare.parameters(), strict=True))
    monkeypatch.undo()
    stepped(model, optimizer, fixed(2), watch)
    assert watch.result.series(DENSITY)[0].tolist() == [2, 3]


def test_an_optimizer_that_never_steps(tmp_path):
    model, _, watch = watching(tmp_path)
    other = torch.optim.SGD(model.parameters(), 0.1)
    stepped(model, other, fixed(1) * 120, watch)
    assert "has not stepped in the first 100 iterations" in watch.notes[0]
    assert watch.close(page=False) is None


def test_what_is_recorded_and_is_no_number(tmp_path):
    model, optimizer, watch = watching(tmp_path)
    stepped(model, optimizer, fixed(2), watch, name="x", other=torch.tensor([1.0, 2.0]), good=torch.tensor(2.0))
    assert len(watch.notes) == 2
    assert "'name' is no number but a str" in watch.notes[0]
    assert watch.result.series("good")[1].tolist() == [2.0, 2.0]


class Checkpointed(nn.Module):
    """Computes its middle anew while gradients are taken."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)
        self.gradient_checkpointing = True

    def forward(self, x):
        return self.last(checkpoint(lambda y: self.first(y).tanh(), x, use_reentrant=False))


class Flagged(Checkpointed):
    """As Hugging Face's layers do, where a flag says so."""

    def forward(self, x):
        return super().forward(x) if self.gradient_checkpointing else self.last(self.first(x).tanh())


def test_gradient_checkpointing(tmp_path):
    probes = (Sharpness(3), GradientDensity())
    model, optimizer, watch = watching(tmp_path, model=Checkpointed(), probes=probes)
    stepped(model, optimizer, fixed(1), watch)
    assert any("gradient checkpointing" in why for why in (*watch.unavailable.values(), *watch.notes))
    model, optimizer, watch = watching(tmp_path, model=Flagged(), probes=probes)
    stepped(model, optimizer, fixed(1), watch)
    assert watch.unavailable == {}
    assert watch.notes == ()
    assert model.gradient_checkpointing
    task = WatchedTask(model, understood(smooth))
    w, batch = task.init(stream(0, "i")), fixed(1)[0]
    before = Point(task, w, task.batch(batch, stream(0, "m"))).grad
    with torch.no_grad():
        for x in model.parameters():
            x.zero_()
    after = Point(task, w, task.batch(batch, stream(0, "m"))).grad
    assert all(torch.equal(before[k], after[k]) for k in w)


def test_the_store_is_full_at_the_end(tmp_path, monkeypatch):
    model, optimizer, watch = watching(tmp_path)
    stepped(model, optimizer, fixed(2), watch)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adamantine.store.pq.write_table", refuse)
    assert watch.close() is None
    assert (tmp_path / "watching" / watch.key / "rows.jsonl").exists(), "the journal stays"


def test_watching_makes_no_warnings(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, optimizer, watch = watching(tmp_path, F.cross_entropy, probes=[Each(), Sharpness(3)])
        stepped(model, optimizer, fixed(2), watch)
        watch.close(page=False)
    assert [str(w.message) for w in caught] == []


def test_products_by_differences_are_told(tmp_path):
    def loss(model, batch):
        return Squared.apply(model(batch[0])).mean(1)

    model, optimizer, watch = watching(tmp_path, loss, probes=(Sharpness(products=3),))
    stepped(model, optimizer, fixed(2), watch, loss)
    assert [x for x in watch.notes if "differences of gradients, since step 0" in x] == list(watch.notes)
    assert all(x > 0 for x in watch.result.series("sharpness")[1])
    watch.close(page=False)
