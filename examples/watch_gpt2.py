"""A small GPT-2 of Hugging Face, trained by its own Trainer on text from disk, and watched.

    python examples/watch_gpt2.py [--steps 200] [--text FILE_OR_FOLDER] [--budget 0.3] [--out adamantine-store]

Reads bytes; the text is the interpreter's standard library unless another is given. Measured often, which takes more
time than the training does: about a minute on two cores; `--budget 0.1` takes a tenth. Prints where the page is.
Needs transformers and accelerate: pip install 'adamantine[hf]' accelerate.
"""

import argparse
import tempfile

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

from adamantine.data import text
from adamantine.probes.preconditioned_sharpness import PreconditionedSharpness
from adamantine.probes.trace import Trace
from adamantine.watching import presets
from adamantine.watching.hugging_face import Watching

LENGTH = 64


class Windows(Dataset):
    """Stretches of a text, one after another; every byte is a token."""

    def __init__(self, data: bytes) -> None:
        whole = torch.frombuffer(bytearray(data), dtype=torch.uint8).long()
        self.rows = whole[: len(whole) // LENGTH * LENGTH].view(-1, LENGTH)

    def __len__(self) -> int:
        """How many."""
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        """What the model is called with."""
        return {"input_ids": self.rows[i], "labels": self.rows[i]}


def main(words: list[str] | None = None) -> None:
    """Train, watch, and say where the page is."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=200)
    options.add_argument("--text", default="stdlib")
    options.add_argument("--budget", type=float, help="share of the time for measurements; every 8 steps without it")
    options.add_argument("--out", default="adamantine-store")
    given = options.parse_args(words)

    set_seed(0)
    config = GPT2Config(
        vocab_size=256, n_positions=LENGTH, n_embd=64, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config)
    watching = Watching(
        (*presets.DEFAULT, PreconditionedSharpness(), Trace(4)),
        every=8,
        budget=given.budget,
        store=given.out,
        name="gpt2",
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=given.steps,
            per_device_train_batch_size=16,
            learning_rate=2e-3,
            warmup_steps=given.steps // 10,
            logging_steps=5,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model, args=arguments, train_dataset=Windows(text.load(given.text)), callbacks=[watching]
        )
        trainer.train()
    print(f"the page: {watching.page}")


if __name__ == "__main__":
    main()
