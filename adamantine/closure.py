"""A training closure as a task: its loss and gradient at the weights where they are, and at others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from adamantine.sharded import put, seen
from adamantine.tree import Params


@dataclass
class Evaluation:
    """What one call of the closure gave: the loss, and the gradients, with their graph where the closure built one."""

    task: "ClosureTask"
    w: Params
    loss: Tensor
    grads: dict[str, Tensor | None]

    def gradients(self) -> tuple[Tensor, ...]:
        """The gradients without history; zero for a parameter that took no part."""
        found = ((x, self.grads[k]) for k, x in self.w.items())
        return tuple(torch.zeros_like(x) if g is None else g.detach().clone() for x, g in found)

    def product(self, v: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Hessian-vector product, through the graph of the gradients."""
        live = {k: g for k, g in self.grads.items() if g is not None and g.requires_grad}
        if not live:
            raise ValueError(
                "torch_optimizer: this composition asks for a Hessian-vector product, which needs the graph of the "
                "gradient; call loss.backward(create_graph=True) in the closure."
            )
        params = [self.task.params[k] for k in self.w]
        vs = dict(zip(self.w, v, strict=True))
        with self.task.placed(self.w):
            out = torch.autograd.grad(
                list(live.values()),
                params,
                [vs[k].reshape(g.shape) for k, g in live.items()],
                retain_graph=True,
                allow_unused=True,
            )
        pairs = zip(self.w.values(), out, strict=True)
        return tuple(torch.zeros_like(x) if h is None else h.detach().reshape(x.shape) for x, h in pairs)


@dataclass
class ClosureTask:
    """The task whose loss is what `closure()` returns, by the parameters `params` of a network.

    `first` is the evaluation that the optimizer's step has made already. Gradients are what `backward` leaves in the
    parameters, whose own are put back afterwards. ValueError, where a loss is asked for and there is no closure.
    """

    params: dict[str, Tensor]
    closure: Callable[[], Any] | None = None
    whole: bool = False
    first: Evaluation | None = field(default=None, repr=False)
    splits = False

    def losses(self, w: Params, batch: Any) -> Tensor:
        """The loss at `w`, one value, differentiable twice if the closure's backward is."""
        return _Loss.apply(self.evaluated, tuple(w), *w.values())

    def evaluated(self, w: Params) -> Evaluation:
        """Call the closure at `w`, unless that is where it was called."""
        at = self.first
        if at is not None and all(k in at.w and x.data_ptr() == at.w[k].data_ptr() for k, x in w.items()):
            return Evaluation(self, w, at.loss, at.grads)
        if self.closure is None:
            raise ValueError(
                "torch_optimizer: this composition computes the loss or its gradient anew inside a step; call "
                "optimizer.step(closure) with a closure that clears gradients, computes the loss, calls backward and "
                "returns the loss."
            )
        kept = {k: x.grad for k, x in self.params.items()}
        try:
            for x in self.params.values():
                x.grad = None
            with self.placed(w), torch.enable_grad():
                loss = self.closure()
            grads = {k: self.grad(k) for k in w}
        finally:
            for k, x in self.params.items():
                x.grad = kept[k]
        return Evaluation(self, w, scalar(loss), grads)

    def grad(self, name: str) -> Tensor | None:
        """The gradient that now lies in the parameter."""
        g = self.params[name].grad
        return None if g is None else seen(g, self.whole)

    @contextmanager
    def placed(self, w: Params) -> Iterator[None]:
        """The network with the weights `w`; afterwards its own again."""
        held = {k: self.params[k].data for k in w}
        spare = {k: x.detach().clone() for k, x in held.items() if hasattr(x, "full_tensor")}
        try:
            for k, x in w.items():
                if k in spare:
                    put(self.params[k], x.detach(), self.whole)
                else:
                    # Another storage, not another content: a graph that holds the old one stays valid.
                    self.params[k].data = x.detach().reshape(held[k].shape)
            yield
        finally:
            for k, x in held.items():
                if k in spare:
                    x.copy_(spare[k])
                else:
                    self.params[k].data = x


def scalar(loss: Any) -> Tensor:
    """What a closure returned, as a scalar without history. ValueError where it returned no number."""
    if isinstance(loss, (int, float)):
        return torch.tensor(float(loss))
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return loss.detach().reshape(())
    raise ValueError(
        f"torch_optimizer: this composition asks for the loss, but the closure returned {type(loss).__name__}; "
        "return the loss from it."
    )


class _Loss(Function):
    """The loss by the weights; its gradient is the closure's."""

    @staticmethod
    def forward(ctx: Any, evaluated: Callable[[Params], Evaluation], names: tuple[str, ...], *w: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Evaluate."""
        ctx.evaluation = evaluated({k: x.detach() for k, x in zip(names, w, strict=True)})
        ctx.save_for_backward(*w)
        return ctx.evaluation.loss.clone()

    @staticmethod
    def backward(ctx: Any, *g: Any) -> Any:
        """The gradients, themselves differentiable."""
        return None, None, *(g[0] * x for x in _Gradient.apply(ctx.evaluation, *ctx.saved_tensors))


class _Gradient(Function):
    """The gradient by the weights; its derivative is the Hessian."""

    @staticmethod
    def forward(ctx: Any, evaluation: Evaluation, *w: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Those found already."""
        ctx.evaluation = evaluation
        return evaluation.gradients()

    @staticmethod
    def backward(ctx: Any, *v: Any) -> Any:
        """The Hessian times `v`."""
        return None, *ctx.evaluation.product(v)
