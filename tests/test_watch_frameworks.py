"""`watch` inside Hugging Face's Trainer and Lightning's: training is what it was, and the loss is the Trainer's own."""

import copy
import math

import pytest
import torch
from torch import nn

from adamantine.probes.density import GradientDensity
from adamantine.probes.sharpness import Sharpness
from adamantine.store import Store
from adamantine.watching.page import find

PROBES = (GradientDensity(), Sharpness(products=4))


def same(a, b):
    assert a.keys() == b.keys()
    for k in a:
        assert torch.equal(a[k], b[k]), k


class Ragged(torch.utils.data.Dataset):
    """Texts of different lengths, padded, with labels of -100 there."""

    def __len__(self):
        return 24

    def __getitem__(self, i):
        g = torch.Generator().manual_seed(i)
        n = 3 + i % 6
        ids = torch.randint(1, 40, (9,), generator=g)
        known = torch.arange(9) < n
        return {
            "input_ids": ids.where(known, 0),
            "attention_mask": known.long(),
            "labels": ids.where(known, torch.tensor(-100)),
        }


def gpt2(dropout=0.1):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=40, n_positions=16, n_embd=16, n_layer=1, n_head=2, resid_pdrop=dropout, embd_pdrop=dropout,
        attn_pdrop=dropout, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def trainer_of(tmp_path, model, *callbacks, **options):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("accelerate", reason="needs accelerate")
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=6, per_device_train_batch_size=4, learning_rate=1e-2, seed=3,
        report_to=[], save_strategy="no", logging_steps=1, disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False,
        **options,
    )  # fmt: skip
    return transformers.Trainer(model=model, args=args, train_dataset=Ragged(), callbacks=list(callbacks))


def watching(tmp_path, **options):
    pytest.importorskip("transformers", reason="needs transformers")
    from adamantine.watching.hugging_face import Watching

    return Watching(**{"probes": PROBES, "every": 2, "store": tmp_path / "store", "name": "run"} | options)


@pytest.mark.parametrize("pieces", [1, 2])
def test_hugging_face_trains_as_if_nobody_looked_and_the_loss_is_its_own(tmp_path, pieces):
    dropout = 0.1 if pieces == 1 else 0.0
    bare, seen = gpt2(dropout), gpt2(dropout)
    trainer_of(tmp_path, bare, gradient_accumulation_steps=pieces).train()
    after = torch.get_rng_state()
    watcher = watching(tmp_path, probes=PROBES)
    hooks = len(seen._forward_pre_hooks)
    trainer_of(tmp_path, seen, watcher, gradient_accumulation_steps=pieces).train()
    same(bare.state_dict(), seen.state_dict())
    assert torch.equal(after, torch.get_rng_state())
    assert len(seen._forward_pre_hooks) == hooks
    assert watcher.watch.unavailable == {}
    assert watcher.watch.notes == ()
    assert watcher.page.exists()
    result, _ = find(Store(tmp_path / "store"), "run")
    steps, losses = result.series("loss")
    logged = dict(zip(*(x.tolist() for x in result.series("trainer_loss")), strict=True))
    assert steps.tolist() == [0, 2, 4]
    assert sorted(logged) == [1, 2, 3, 4, 5, 6]
    assert [*result.series("sharpness")[0]] == [0, 2, 4]
    if not dropout:  # the masks of the watch are others
        # The Trainer logs after a step what the watch has measured at it.
        assert losses.tolist() == pytest.approx([logged[s + 1] for s in steps.tolist()], abs=2e-4)


def test_losses_of_examples_have_the_mean_of_the_models_own_loss():
    model = gpt2(0.0)
    from adamantine.watching import hugging_face as hf

    inputs = torch.utils.data.default_collate([Ragged()[i] for i in range(6)])
    assert hf.is_causal(model)
    batch = hf._batch(dict(inputs))
    hf._weigh([batch], hf._tokens([batch], 1))
    losses = hf.causal(model, batch)
    assert losses.shape == (6,)
    assert losses.mean().item() == pytest.approx(model(**inputs).loss.item(), rel=1e-6)
    alone = model(**{k: x[2:3] for k, x in inputs.items()}).loss.item()
    tokens = (inputs["labels"][:, 1:] != -100).sum(1)
    assert losses[2].item() == pytest.approx(alone * 6 * (tokens[2] / tokens.sum()).item(), rel=1e-5)


def test_micro_batches_of_different_lengths_weigh_by_their_tokens():
    model = gpt2(0.0)
    from adamantine.watching import hugging_face as hf

    whole = torch.utils.data.default_collate([Ragged()[i] for i in range(6)])
    parts = [hf._batch({k: x[at] for k, x in whole.items()}) for at in (slice(0, 2), slice(2, 6))]
    hf._weigh(parts, hf._tokens(parts, 1))
    losses = torch.cat([hf.causal(model, b) for b in parts])
    assert losses.mean().item() == pytest.approx(model(**whole).loss.item(), rel=1e-6)


def test_batches_that_are_fresh_come_from_the_training_set(tmp_path):
    from adamantine.probes.batch_sharpness import BatchSharpness

    watcher = watching(tmp_path, probes=(BatchSharpness(3),))
    trainer_of(tmp_path, gpt2(0.0), watcher).train()
    assert watcher.watch.unavailable == {}
    assert all(math.isfinite(x) for x in watcher.watch.result.series("batch_sharpness_error")[1])


def test_models_that_are_no_language_models_are_watched_by_their_own_loss(tmp_path):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(9, 3)

        def forward(self, input_ids, attention_mask, labels):
            said = self.layer(input_ids.float() / 40)
            return {"loss": nn.functional.cross_entropy(said, labels[:, 0] % 3), "logits": said}

    torch.manual_seed(0)
    model = Plain()
    bare = copy.deepcopy(model)
    trainer_of(tmp_path, bare).train()
    watcher = watching(tmp_path)
    trainer_of(tmp_path, model, watcher).train()
    same(bare.state_dict(), model.state_dict())
    _, losses = watcher.watch.result.series("loss")
    logged = watcher.watch.result.series("trainer_loss")[1]
    assert losses.tolist() == pytest.approx(logged[[0, 2, 4]].tolist(), abs=2e-4)


def test_smoothed_labels_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="the Trainer smooths labels"):
        trainer_of(tmp_path, gpt2(), watching(tmp_path), label_smoothing_factor=0.1).train()


def lightning():
    return pytest.importorskip("lightning.pytorch", reason="lightning is not installed")


def loss(model, batch):
    x, y = batch
    return nn.functional.cross_entropy(model.net(x), y, reduction="none")


def module():
    L = lightning()

    class Small(L.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))

        def training_step(self, batch, i):
            mean = loss(self, batch).mean()
            self.log("mean", mean)
            return mean

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 1e-2)

    return Small()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("pieces", "precision"), [(1, "32-true"), (2, "32-true"), (1, "bf16-mixed")])
def test_lightning_trains_as_if_nobody_looked(tmp_path, pieces, precision):
    L = lightning()
    from adamantine.watching.lightning import Watching

    g = torch.Generator().manual_seed(0)
    x = torch.randn(48, 5, generator=g)
    data = torch.utils.data.TensorDataset(x, x[:, :3].argmax(1))

    def trained(*callbacks):
        model = module()
        torch.manual_seed(1)
        L.Trainer(
            max_epochs=1, callbacks=list(callbacks), accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1, precision=precision,
            accumulate_grad_batches=pieces,
        ).fit(model, torch.utils.data.DataLoader(data, 8))  # fmt: skip
        return model.state_dict(), torch.get_rng_state()

    bare, after = trained()
    watcher = Watching(loss, PROBES, 1, store=tmp_path / "store", name="run")
    seen, rng = trained(watcher)
    same(bare, seen)
    assert torch.equal(after, rng)
    assert watcher.watch.unavailable == {}
    assert watcher.page.exists()
    result, _ = find(Store(tmp_path / "store"), "run")
    assert [*result.series("sharpness")[0]] == list(range(6 // pieces))
    assert len(result.series("mean")[0]) >= 6 // pieces
    assert result.provenance["model"] == "Small"


def test_lightning_with_two_optimizers_is_refused_in_a_sentence():
    lightning()
    from adamantine.watching.lightning import Watching

    class Two:
        optimizers = (1, 2)

    with pytest.raises(ValueError, match="has 2 optimizers"):
        Watching(loss).on_train_start(Two(), nn.Linear(1, 1))
