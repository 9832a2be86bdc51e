"""`torch_optimizer` where others call it: DDP, FSDP2, Hugging Face's Trainer, Lightning, accelerate."""

import copy
import socket
import warnings

import pytest
import torch
from torch import nn
from two_processes import trained

from adamantine import torch_optimizer

CASES = [
    ("adamw", {"lr": 1e-2}, False),
    ("muon", {"lr": 1e-2}, False),
    ("soap", {"lr": 1e-2}, False),
    ("sam", {"lr": 1e-2}, True),
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no torch.distributed here")
def test_two_processes_train_as_one():
    trained(["ddp", "fsdp"], CASES, free_port())


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))


def data():
    return torch.randn(16, 6, generator=torch.Generator().manual_seed(0))


def weights(model):
    return torch.cat([x.detach().flatten() for x in model.parameters()])


def by_hand(n, batches):
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for t in range(n):
        x = batches[t % len(batches)]
        optimizer.zero_grad()
        (model(x) - x).square().mean().backward()
        optimizer.step()
    return weights(model)


def test_accelerate():
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    accelerator = accelerate.Accelerator(cpu=True)
    model = net()
    model, optimizer = accelerator.prepare(model, torch_optimizer(model, "adamw", lr=1e-2))
    batches = data().split(4)
    for t in range(8):
        optimizer.zero_grad()
        x = batches[t % 4]
        accelerator.backward((model(x) - x).square().mean())
        optimizer.step()
    assert torch.allclose(weights(model), by_hand(8, batches), atol=1e-6)
    held = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(held)
    assert held["step"] == 8


@pytest.mark.filterwarnings("ignore")
def test_lightning(tmp_path):
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")
    from torch.utils.data import DataLoader

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net()

        def training_step(self, x, _):
            return (self.net(x) - x).square().mean()

        def configure_optimizers(self):
            optimizer = torch_optimizer(self.net, "adamw", lr=1e-2)
            return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 100)}

    def fit(epochs, checkpoint=None):
        module = Module()
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, DataLoader(data(), 4), ckpt_path=checkpoint)
        return module, trainer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, trainer = fit(1)
        trainer.save_checkpoint(tmp_path / "half.ckpt")
        resumed, _ = fit(2, tmp_path / "half.ckpt")
        whole, _ = fit(2)
    assert torch.allclose(weights(whole), by_hand(8, data().split(4)), atol=1e-6)
    assert torch.equal(weights(whole), weights(resumed))
    assert not torch.equal(weights(module), weights(whole))


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_trainer(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="transformers.Trainer needs accelerate")
    config = transformers.GPT2Config(vocab_size=17, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    rows = [
        {"input_ids": r, "labels": r} for r in torch.randint(17, (32, 8), generator=torch.Generator().manual_seed(0))
    ]

    def fit(recipe, steps, resume=None, **given):
        torch.manual_seed(0)
        model = transformers.GPT2LMHeadModel(config)
        start = weights(model)
        optimizer = torch_optimizer(model, recipe, **given) if isinstance(recipe, str) else recipe(model.parameters())
        arguments = transformers.TrainingArguments(
            str(tmp_path / f"{recipe}"), max_steps=steps, per_device_train_batch_size=4, save_steps=4, use_cpu=True,
            report_to=[], disable_tqdm=True, max_grad_norm=1.0, seed=0,
        )  # fmt: skip
        constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t))
        trainer = transformers.Trainer(model, arguments, train_dataset=rows, optimizers=(optimizer, constant))
        trainer.train(resume_from_checkpoint=resume)
        assert not torch.equal(start, weights(model))
        return weights(model)

    for recipe in ("adamw", "muon"):
        whole = fit(recipe, 8, lr=1e-2)
        resumed = fit(recipe, 8, str(tmp_path / recipe / "checkpoint-4"), lr=1e-2)
        assert torch.equal(whole, resumed)
        if recipe == "adamw":
            assert torch.allclose(whole, fit(lambda w: torch.optim.AdamW(w, 1e-2), 8), atol=1e-5)
