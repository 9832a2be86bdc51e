"""Lightning's `Trainer`, watched: `Trainer(..., callbacks=[Watching(loss, budget=0.1)])`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from adamantine.watching import presets
from adamantine.watching.loss import Whole, understood
from adamantine.watching.watch import watch
from adamantine.watching.watcher import Watch

try:
    from lightning.pytorch import Callback
except ImportError as error:
    raise ImportError("watching Lightning's Trainer needs it: pip install lightning.") from error


class Watching(Callback):
    """Measures while Lightning trains; the options are those of `adamantine.watch`.

    `loss(model, batch)` gives one number an example, whose mean is what `training_step` returns; `model` is the
    LightningModule. It is computed under the Trainer's precision. With `accumulate_grad_batches` the micro-batches of a
    step are measured together. What the module logs is recorded every `log_every_n_steps`. After training `page` is
    the path of the page; `watch` is what `adamantine.watch` returned.
    """

    def __init__(
        self,
        loss: Any,
        probes: Any = presets.DEFAULT,
        every: Any = 16,
        budget: float | None = None,
        *,
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

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin. ValueError where there is more than one optimizer."""
        if len(trainer.optimizers) != 1:
            raise ValueError(
                f"Watching: the module has {len(trainer.optimizers)} optimizers, and a watch follows one; call "
                "adamantine.watch for each in the module's own training_step."
            )
        loss = self.loss
        if trainer.precision != "32-true":
            loss = _within(trainer.precision_plugin.forward_context, understood(loss))
        self.watch = watch(pl_module, trainer.optimizers[0], loss, self.data, **self.options)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A micro-batch, or a step of the optimizer."""
        if self.watch is None:
            return
        if (batch_idx + 1) % max(1, trainer.log_every_n_steps) == 0:
            self.watch.record(trainer.logged_metrics)
        self.watch.step(batch)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the page."""
        if self.watch is not None:
            self.page = self.watch.close()


def _within(context: Callable[[], Any], loss: Whole) -> Whole:
    """The loss under the Trainer's precision."""

    def found(model: nn.Module, batch: Any) -> Tensor:
        with context():
            return loss(model, batch)

    return found
