"""A module in training and its loss as a `Task`: at any weights, and without a trace in the module."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from adamantine.point import Draw
from adamantine.sharded import is_sharded
from adamantine.tree import Params
from adamantine.watching.draws import Draws
from adamantine.watching.loss import Criterion, Whole
from adamantine.watching.randomness import preserved, seed_all

CHECKPOINTING = (
    "watch: the loss keeps less than it needs and computes it anew while gradients are taken (gradient checkpointing), "
    "by which time the module's weights are others; switch that off in what watch is given."
)


def plain(model: Any) -> nn.Module:
    """The module inside wrappers that change how it runs and not what it computes: DDP, torch.compile.

    TypeError where it is no module, ValueError where its parameters are sharded.
    """
    while isinstance(model, nn.Module):
        if type(model).__name__ == "OptimizedModule" and hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            model = model.module
        else:
            break
    if not isinstance(model, nn.Module):
        raise TypeError(f"watch: model is {model!r}, but must be a torch.nn.Module.")
    sharded = next((k for k, x in model.named_parameters() if is_sharded(x)), None)
    if sharded is not None or type(model).__name__ == "FullyShardedDataParallel":
        raise ValueError(
            f"watch: the parameters of {type(model).__name__} are sharded over processes (FSDP), and no process could "
            "compute the loss alone; watch a replicated (DDP) or smaller run."
        )
    return model


@dataclass(eq=False)
class WatchedTask:
    """The mean of `loss(model, batch)`, `[B]` or a scalar, in which the module's present weights play no part.

    A batch is `{"batch": the user's, "seed": [B]}`, as `batch(theirs, rng)` makes it: all that is random in the loss
    starts from the seed, so that every question asked of a batch sees the same masks. Buffers are copied before every
    evaluation, frozen parameters are as they are, the mode is the module's own. `whole` says, once a loss has been
    computed, why it does not split by example; `refusal`, if set, is what every evaluation raises.

    ValueError for a loss that is neither `[B]` nor a scalar.
    """

    model: nn.Module
    loss: Whole
    draws: Draws | None = None
    whole: str | None = None
    refusal: str | None = None
    _outer: list[nn.Module] = field(default_factory=list, init=False, repr=False)

    def __repr__(self) -> str:
        """The module's class."""
        return f"WatchedTask({type(self.model).__name__})"

    @property
    def splits(self) -> bool:
        """Whether examples do not meet in the module; what the loss does, `whole` says."""
        return not any(isinstance(m, _BatchNorm) and m.training for m in self.model.modules())

    def init(self, rng: torch.Generator) -> Params:
        """Copies of the module's present weights, tied ones once."""
        return {k: x.detach().clone() for k, x in self.model.named_parameters() if x.requires_grad}

    def source(self, rng: torch.Generator) -> Draw:
        """Batches drawn from the user's data. ValueError where there are none."""
        draws = self.draws
        if draws is None:
            raise ValueError("watch: this needs batches independent of the one in training; give watch(data=...).")
        return lambda w: self.batch(draws(rng), rng)

    def batch(self, theirs: Any, rng: torch.Generator) -> dict[str, Any]:
        """The user's batch with a seed for what is random in the loss."""
        theirs = dict(theirs) if isinstance(theirs, Mapping) else theirs
        sizes = [len(x) for x in tree_leaves(theirs) if isinstance(x, Tensor) and x.ndim]
        seed = torch.randint(2**62, (1,), generator=rng)
        # One seed for all, with an axis of examples like everything else in a batch.
        return {"batch": theirs, "seed": seed.expand(sizes[0] if sizes else 1)}

    def losses(self, w: Params, batch: dict[str, Any]) -> Tensor:
        """The user's loss of each example, `[B]`; a scalar as `[1]`."""
        with self._evaluating(w, batch) as run:
            return self._checked(run(), batch)

    def outputs_and_losses(self, w: Params, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """What the one call of the module gave, logits or a tensor, and the losses from it.

        ValueError where the module was called otherwise than once, or gave something else.
        """
        said: list[Any] = []
        with self._evaluating(w, batch) as run:
            handle = self.model.register_forward_hook(lambda module, inputs, out: said.append(out))
            try:
                losses = self._checked(run(), batch)
            finally:
                handle.remove()
        out = getattr(said[0], "logits", said[0]) if len(said) == 1 else None
        if not isinstance(out, Tensor):
            raise ValueError(
                "watch: products with the Gauss-Newton matrix need a loss that calls the model once and is computed "
                "from nothing but the tensor, or the `.logits`, that this gives."
            )
        return out, losses

    def score(self, w: Params) -> dict[str, float]:
        """Nothing: what people care about is measured by the user's own loop."""
        return {}

    @contextmanager
    def _evaluating(self, w: Params, batch: dict[str, Any]) -> Iterator[Callable[[], Any]]:
        if self.refusal is not None:
            raise ValueError(self.refusal)
        held = {k: x.detach() for k, x in self.model.named_parameters() if k not in w}
        held |= {k: x.detach().clone() for k, x in self.model.named_buffers()}
        tensors = {f"model.{k}": x for k, x in {**held, **w}.items()}
        seed = batch["seed"]
        with ExitStack() as around:
            around.enter_context(preserved(self.model))
            around.enter_context(_eager())
            around.enter_context(_unchecked(self.model))
            if torch.is_grad_enabled() and not _mapped(seed):
                around.enter_context(disable_saved_tensors_hooks(CHECKPOINTING))
            if not _mapped(seed):  # under vmap nothing may be drawn anyway
                seed_all(int(seed[0]), self.model)
            yield lambda: functional_call(self._whole(), tensors, (batch["batch"],), tie_weights=True)

    def _whole(self) -> nn.Module:
        """The module and the loss as one module, so that whatever the loss calls sees the weights at hand."""
        if not self._outer:
            outer = nn.Module()
            outer.training = self.model.training
            outer.model = self.model
            outer.forward = lambda batch: self.loss(self.model, batch)
            self._outer.append(outer)
        return self._outer[0]

    def _checked(self, out: Any, batch: dict[str, Any]) -> Tensor:
        if not isinstance(out, Tensor) or out.ndim > 1 or not out.is_floating_point():
            what = f"of shape {[*out.shape]}, {out.dtype}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
            raise ValueError(
                f"watch: the loss gave {what}, but must give one number an example, shape [B], or their mean; average "
                "over all but the first axis."
            )
        if out.ndim:
            return out
        why = None
        if isinstance(self.loss, Criterion):
            why = self.loss.why_whole(batch["batch"][1])
        self.whole = why or "the loss is one number for the batch, not one number an example, shape [B]"
        return out.reshape(1)


def _mapped(x: Tensor) -> bool:
    return torch._C._functorch.is_batchedtensor(x)  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def _eager() -> Iterator[None]:
    """Compiled code run as it is written: it has no second derivative."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def _unchecked(model: nn.Module) -> Iterator[None]:
    """Hugging Face's gradient checkpointing switched off, which is a flag of their layers."""
    on = [m for m in model.modules() if getattr(m, "gradient_checkpointing", None) is True]
    try:
        for m in on:
            m.gradient_checkpointing = False  # pyright: ignore[reportArgumentType]
        yield
    finally:
        for m in on:
            m.gradient_checkpointing = True  # pyright: ignore[reportArgumentType]
