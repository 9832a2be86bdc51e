"""What the optimizer really does to the weights, seen by its own hooks."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from adamantine.tree import Params
from adamantine.watching.measuring import reason


def unwrapped(optimizer: Any) -> Optimizer:
    """The optimizer inside accelerate's and Lightning's wrappers. TypeError where it is none."""
    for _ in range(8):
        if isinstance(optimizer, Optimizer) and hasattr(optimizer, "_optimizer_step_pre_hooks"):
            return optimizer
        optimizer = getattr(optimizer, "optimizer", None)
    raise TypeError("watch: optimizer must be a torch.optim.Optimizer, whose hooks tell when it steps.")


class Steps:
    """The steps taken since the last `forget`, and of the first to the last of them, if `wanted`, what they did.

    `before` are copies of the weights, `u` what was subtracted from them, in float32 at least; `groups` the
    hyperparameters of the step, which a scheduler may change before anyone looks; `grads` the gradients that the step
    began from, if wanted. Only parameters of the model that the optimizer steps, and gradients can reach, are seen.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, clock: Callable[[], float] = time.perf_counter) -> None:
        self.model, self.optimizer, self.clock = model, optimizer, clock
        self.forget(False)
        if not self.names():
            raise ValueError(
                "watch: the optimizer steps no parameter of the model that requires a gradient; give the model and its "
                "own optimizer."
            )
        self._handles = [
            optimizer.register_step_pre_hook(self._pre),
            optimizer.register_step_post_hook(self._post),
        ]

    def forget(self, wanted: bool, grads: bool = False) -> None:
        """Begin anew, looking at the next step if `wanted`, and at its gradients too."""
        self.wanted, self.grads_wanted = wanted, wanted and grads
        self.taken, self.skipped = 0, False
        self.own, self.trouble = 0.0, ""  # seconds that looking took; what went wrong
        self.before: Params = {}
        self.u: Params = {}
        self.grads: dict[str, Tensor | None] = {}
        self.groups: list[dict[str, Any]] = []

    def names(self) -> dict[str, Tensor]:
        """The parameters seen, tied ones once."""
        stepped = {id(x) for group in self.optimizer.param_groups for x in group["params"]}
        return {k: x for k, x in self.model.named_parameters() if id(x) in stepped and x.requires_grad}

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self.wanted = False

    def _pre(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.wanted and not self.before:
            self._looking(self._look_before)

    def _post(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.taken += 1
        if self.before:
            self._looking(self._look_after)

    def _looking(self, look: Callable[[], None]) -> None:
        """Look, and let nothing that goes wrong get into the optimizer's step."""
        start = self.clock()
        try:
            look()
        except Exception as error:
            self.before, self.grads, self.u = {}, {}, {}
            self.trouble = reason(error)
        self.own += self.clock() - start

    def _look_before(self) -> None:
        named = self.names()
        self.before = {k: x.detach().clone() for k, x in named.items()}
        if self.grads_wanted:
            self.grads = {k: None if x.grad is None else x.grad.detach().clone() for k, x in named.items()}

    def _look_after(self) -> None:
        # A scaler tells fused optimizers by this attribute to leave the weights alone.
        found = getattr(self.optimizer, "found_inf", None)
        self.skipped = isinstance(found, Tensor) and bool(found.any())
        named = dict(self.model.named_parameters())
        self.u = {k: _wide(x) - _wide(named[k].detach()) for k, x in self.before.items()}
        self.groups = [{k: x for k, x in g.items() if k != "params"} for g in self.optimizer.param_groups]


def described(optimizer: Optimizer) -> str:
    """An optimizer in words: its class, or its recipe, with the numbers that it was given."""
    recipes = dict.fromkeys(repr(g["recipe"]) for g in optimizer.param_groups if "recipe" in g)
    if recipes:
        return " | ".join(recipes)
    given = {k: x for k, x in optimizer.param_groups[0].items() if k != "params" and _plain(x)}
    return f"{type(optimizer).__name__}({', '.join(f'{k}={x!r}' for k, x in given.items())})"


def _plain(x: Any) -> bool:
    return (isinstance(x, (int, float, str)) and x is not False) or isinstance(x, tuple)


def accumulating(params: dict[str, Tensor]) -> bool:
    """Whether gradients lie there for a step to come: not where they were cleared, or a scaler found them infinite."""
    grads = [x.grad for x in params.values() if x.grad is not None]
    if not grads:
        return False
    size = torch.stack([torch.linalg.vector_norm(g.detach().float()).cpu() for g in grads]).sum()
    return bool(torch.isfinite(size)) and float(size) > 0


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
