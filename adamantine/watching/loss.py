"""The user's loss, whatever its form, as one number an example where it can be had."""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Whole = Callable[[nn.Module, Any], Tensor]


def understood(loss: Any) -> Whole:
    """`loss(model, batch) -> [B]`, or a scalar where it cannot be told apart by example.

    `loss` is such a function; or a criterion with a `reduction`, module (`nn.CrossEntropyLoss()`) or function
    (`F.mse_loss`), for batches `(inputs, target)`; or None for models that compute it: `model(**batch).loss`.
    TypeError for anything else.
    """
    if loss is None:
        return own
    if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
        return Criterion(loss)
    if callable(loss) and not isinstance(loss, nn.Module):
        try:
            parameters = inspect.signature(loss).parameters
        except (TypeError, ValueError):  # written in C
            return loss  # pyright: ignore[reportReturnType]
        if "reduction" in parameters:
            return Criterion(loss)
        takes = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        wide = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
        if wide or (len(takes) >= 2 and sum(p.default is p.empty for p in takes) <= 2):
            return loss  # pyright: ignore[reportReturnType]
    raise TypeError(
        f"watch: loss is {loss!r}, but must be a function of (model, batch) that gives one loss an example, a "
        "criterion such as nn.CrossEntropyLoss(), or None for a model that computes its own."
    )


def own(model: nn.Module, batch: Any) -> Tensor:
    """The loss that the model itself computes, as Hugging Face's do."""
    if not isinstance(batch, Mapping):
        raise TypeError(f"watch: with loss=None a batch must be a dict for model(**batch), and is a {type(batch)}.")
    out = model(**batch)
    found = out.get("loss") if isinstance(out, Mapping) else getattr(out, "loss", None)
    if not isinstance(found, Tensor):
        raise ValueError(
            "watch: with loss=None model(**batch).loss must be a number; give labels, or give watch a loss."
        )
    return found


@dataclass(frozen=True)
class Criterion:
    """`criterion(model(inputs), target)` for batches `(inputs, target)`, example by example.

    The losses of one example (pixels, tokens) are averaged. A scalar, where the mean over the batch is not the mean
    over examples: classes with weights, targets that are ignored, a sum.
    """

    criterion: Any

    @property
    def options(self) -> dict[str, Any]:
        """What the criterion was built with, by name."""
        if isinstance(self.criterion, nn.Module):
            return vars(self.criterion) | dict(self.criterion.named_buffers())
        parameters = inspect.signature(self.criterion).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}

    def why_whole(self, target: Any) -> str | None:
        """Why the loss of this target does not split by example, in words; None where it does."""
        options = self.options
        if options["reduction"] != "mean":
            return f"the criterion's reduction is {options['reduction']!r}, not 'mean'"
        if options.get("weight") is not None:
            return "the criterion weighs classes, so that the weight of an example depends on the others"
        ignored = options.get("ignore_index")
        classes = ignored is not None and isinstance(target, Tensor) and not target.is_floating_point()
        if classes and bool((target == ignored).any()):
            return "some targets are ignored, so that the weight of an example depends on the others"
        return None

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """The losses `[B]`, or the criterion's own scalar."""
        inputs, target = _pair(batch)
        said = model(inputs)
        if self.why_whole(target):
            return self.criterion(said, target)
        losses = self._unreduced(said, target)
        return losses.flatten(1).mean(1) if losses.ndim > 1 else losses

    def _unreduced(self, said: Any, target: Any) -> Tensor:
        if not isinstance(self.criterion, nn.Module):
            return functools.partial(self.criterion, reduction="none")(said, target)
        plain = copy.copy(self.criterion)
        plain.reduction = "none"  # pyright: ignore[reportArgumentType]
        return plain(said, target)


def _pair(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    raise TypeError(
        f"watch: with a criterion for a loss a batch must be a pair (inputs, target), and is a {type(batch).__name__}; "
        "give a function loss(model, batch) instead."
    )
