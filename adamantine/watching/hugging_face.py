"""Hugging Face's `Trainer`, watched: `Trainer(..., callbacks=[Watching(budget=0.1)])`.

The batch is what the model is called with. Of a causal language model each example's loss is the sum over its tokens
(labels of -100 ignored, shifted by one) times `B / n`, for the `B` examples of all micro-batches of a step together and
the `n` tokens that the Trainer counts in them (`num_items_in_batch`): its mean is the loss that the Trainer takes the
gradient of, whatever the lengths. Of other models it is `model(**inputs).loss`, one number a micro-batch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from adamantine.watching import presets
from adamantine.watching.draws import Draws, draws
from adamantine.watching.loss import own
from adamantine.watching.watch import watch
from adamantine.watching.watcher import Watch

try:
    from transformers import TrainerCallback
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
except ImportError as error:
    raise ImportError("watching Hugging Face's Trainer needs transformers: pip install 'adamantine[hf]'.") from error

IGNORED = -100
TOLD = ("loss", "grad_norm", "learning_rate")  # of the Trainer's log; and what evaluation finds


class Watching(TrainerCallback):
    """Measures while the Trainer trains; the options are those of `adamantine.watch`.

    `loss(model, inputs)` takes the place of the model's own. `data`, for probes that want independent batches, is the
    training set where the Trainer has one that can be drawn from. What the Trainer logs is recorded as
    `trainer_loss`, ..., at its own count of steps. After training `page` is the path of the page; `watch` is what
    `adamantine.watch` returned.
    """

    def __init__(
        self,
        probes: Any = presets.DEFAULT,
        every: Any = 16,
        budget: float | None = None,
        *,
        loss: Any = None,
        data: Any = None,
        store: str | Path = "adamantine-store",
        name: str | None = None,
        seed: int = 0,
        to: Any = (),
    ) -> None:
        self.options: dict[str, Any] = {
            "probes": probes, "every": every, "budget": budget, "store": store, "name": name, "seed": seed, "to": to,
        }  # fmt: skip
        self.loss, self.data = loss, data
        self.watch: Watch | None = None
        self.page: Path | None = None
        self._noted: list[dict[str, Any]] = []
        self._step: list[dict[str, Any]] = []
        self._looking, self._processes = False, 1
        self._from = 1  # the first token that the Trainer counts: in some versions and models, 0
        self._hook: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin. ValueError where the Trainer smooths labels, which the model's own loss does not."""
        if args.label_smoothing_factor and self.loss is None:
            raise ValueError(
                f"Watching: the Trainer smooths labels ({args.label_smoothing_factor}), so that its loss is not the "
                "model's; give Watching(loss=...), a function of (model, inputs) that gives one loss an example."
            )
        model, data = kwargs["model"], self.data
        if data is None:
            data = _training_set(kwargs.get("train_dataloader"), args.per_device_train_batch_size)
        loss = self.loss or (causal if is_causal(model) else own)
        drawn = None if data is None else self._ready(draws(data))
        self.watch = watch(model, kwargs["optimizer"], _on_inputs(loss), drawn, **self.options)
        self._hook = model.register_forward_pre_hook(self._note, with_kwargs=True)
        # Where tokens are counted over all processes, the Trainer multiplies the loss by their number.
        self._processes = args.world_size if args.average_tokens_across_devices else 1
        self._looking = True

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A micro-batch."""
        self._pass_on()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step of the optimizer."""
        self._pass_on(whole=True)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """What the Trainer tells of itself."""
        if self.watch is not None:
            told = {k: x for k, x in (logs or {}).items() if k in TOLD or _evaluated(k)}
            self.watch.record({f"trainer_{k}": x for k, x in told.items()})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the page."""
        if self.watch is not None:
            self._looking = False
            self._hook.remove()
            self.page = self.watch.close()

    def _note(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._looking and module.training and self.watch is not None and self.watch.due:
            self._noted.append(dict(kwargs))

    def _ready(self, drawn: Draws) -> Draws:
        """Batches of the user's data as those in training are, tokens counted as there."""

        def found(rng: torch.Generator) -> dict[str, Any]:
            batch = _batch(dict(drawn(rng)))
            _weigh([batch], _tokens([batch], self._from))
            return batch

        return found

    def _pass_on(self, whole: bool = False) -> None:
        if self.watch is None:
            return
        inputs = self._noted[-1] if self._noted else {}
        items = inputs.pop("num_items_in_batch", None)
        batch = _batch(inputs) if inputs else None
        self._noted.clear()
        if batch is not None:
            self._step.append(batch)
        if whole:
            counted = _tokens(self._step, 1)
            if items is not None and counted:
                items = float(items) / self._processes
                self._from = int(abs(items - counted) < 0.5)
                counted = items
            _weigh(self._step, counted)
            self._step = []
        self._looking = False  # the model is about to be called by the watch
        self.watch.step(batch)
        self._looking = True


def is_causal(model: nn.Module) -> bool:
    """Whether the model's loss is the cross-entropy of the next token, and nothing besides."""
    named = getattr(model, "loss_type", None) == "ForCausalLM" or type(model).__name__ in CAUSAL.values()
    return named and not getattr(getattr(model, "config", None), "output_router_logits", False)


def causal(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Each example's sum over its tokens, times `batch["weight"]`."""
    inputs = {k: x for k, x in batch["inputs"].items() if k != "labels"}
    labels = batch["inputs"]["labels"][:, 1:]
    logits = model(**inputs).logits[:, :-1].float()
    each = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none").sum(1)
    return each * batch["weight"]


def _on_inputs(loss: Any) -> Any:
    """`loss` of a batch as the callback has it."""

    def found(model: nn.Module, batch: Any) -> Tensor:
        return loss(model, batch if loss is causal else batch["inputs"])

    return found


def _batch(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs, and of each example the weight of its tokens, to be told by `_weigh`."""
    labels = inputs.get("labels")
    if not isinstance(labels, Tensor) or labels.ndim != 2:
        return {"inputs": inputs}
    return {"inputs": inputs, "weight": torch.ones(len(labels), device=labels.device)}


def _tokens(batches: list[dict[str, Any]], first: int) -> float:
    """How many labels count, from the `first` of each example on."""
    return sum(int((b["inputs"]["labels"][:, first:] != IGNORED).sum()) for b in batches if "weight" in b)


def _weigh(batches: list[dict[str, Any]], items: float) -> None:
    """Examples over `items`, the counted tokens, of all micro-batches together."""
    batches = [b for b in batches if "weight" in b]
    for b in batches:
        b["weight"].fill_(sum(len(x["weight"]) for x in batches) / max(1.0, items))


def _training_set(loader: Any, size: int) -> Any:
    """Batches of the training set, drawn on their own; None where it cannot be drawn from."""
    dataset = getattr(loader, "dataset", None)
    if dataset is None or isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        return None
    return DataLoader(dataset, min(size, len(dataset)), shuffle=True, collate_fn=loader.collate_fn)


def _evaluated(name: str) -> bool:
    return name.startswith("eval_") and not name.endswith(("_runtime", "_per_second"))
