"""Derivatives of a loss by its weights: gradients, and products with second derivatives by double backward.

Only reverse mode over reverse mode is used. `grad(jvp)`, `jvp(jacrev)` and `jvp(jvp)` give products that are silently
wrong through LayerNorm and BatchNorm in several releases of torch: `adamantine selftest` says what this machine's does.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from adamantine.tree import Params, add, norm

KEPT, REBUILT, DIFFERENCE = "graph kept", "graph rebuilt", "central difference"
Losses = Callable[[Params, Any], Tensor]


def checked(losses: Any) -> Tensor:
    """What a task gave for losses. ValueError unless it is one real number an example, `[B]` (or one number alone)."""
    if not isinstance(losses, Tensor) or losses.ndim > 1 or not losses.is_floating_point() or not losses.numel():
        what = f"{losses.dtype} of shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(f"the task's losses are {what}; let them be one floating-point number an example, shape [B].")
    return losses


def value(losses: Losses, w: Params, batches: tuple[Any, ...]) -> Tensor:
    """Mean loss over all examples of all batches, by forward passes alone."""
    with torch.no_grad():
        return torch.cat([checked(losses(w, b)).reshape(-1) for b in batches]).mean()


def value_and_grad(losses: Losses, w: Params, batches: tuple[Any, ...]) -> tuple[Tensor, Params]:
    """Mean loss over all examples of all batches, and its gradient; zero for a tensor that took no part."""
    w = leaves(w)
    total, count, grads = None, 0, {}
    for batch in batches:
        with torch.enable_grad():  # an optimizer's step is often taken where gradients are off
            of_each = checked(losses(w, batch))
            # Of one batch the mean itself, so that the gradient is to the last bit what `loss.mean().backward()` gives.
            here = of_each.sum() if len(batches) > 1 else of_each.mean()
        if not here.requires_grad:
            raise ValueError("the task's losses do not depend on the weights, so that there is nothing to train.")
        found = filled(w, torch.autograd.grad(here, list(w.values()), allow_unused=True))
        grads = added(grads, found)
        total = here.detach() + (0 if total is None else total)
        count += of_each.numel() if len(batches) > 1 else 1
    assert total is not None
    return total / count, over(grads, count)


class Products:
    """Products with the Hessian of the mean loss at `w`, over the examples of all `batches`.

    `by` is how: "graph kept", where the graph of the gradient is built once and each product is a backward pass through
    it; "graph rebuilt" for every product, where memory does not hold it; "central difference" of two gradients, where
    a kernel has no second derivative, or not even one graph fits. Where `by` is empty, they are tried in this order,
    from `first` on; it then says what is used. The difference is `(g(w + e v) - g(w - e v)) / 2e` with
    `e = c (1 + |w|) / |v|` and `c` the cube root of the precision: a few parts in 10,000 in float32, where the
    loss is smooth. Through ReLU and maxima it counts the kinks that it crosses, which the Hessian does not, and which
    can outweigh it: through a convolutional network with max pooling the two differ by several times the Hessian's.
    """

    def __init__(self, losses: Losses, w: Params, batches: tuple[Any, ...], by: str = "", first: str = "") -> None:
        if by not in ("", KEPT, REBUILT, DIFFERENCE):
            raise ValueError(f"hvp_by is {by!r}; give {KEPT!r}, {REBUILT!r}, {DIFFERENCE!r}, or nothing for the best.")
        self.losses, self.w, self.batches = losses, w, batches
        self.by, self.forced = by or first or KEPT, bool(by)
        self.graphs: list[tuple[Params, dict[str, Tensor | None], int]] = []

    def __call__(self, v: Params) -> Params:
        """`H v`."""
        while True:
            try:
                return self._difference(v) if self.by == DIFFERENCE else self._double_backward(v)
            except (RuntimeError, MemoryError, NotImplementedError) as error:
                after = self._instead(error)
                if after is None:
                    raise
            self.graphs.clear()
            self.by = after

    def _instead(self, error: Exception) -> str | None:
        """What to use after `error`; None where nothing is left, or it is an error of another kind."""
        text = str(error)
        if self.forced or self.by == DIFFERENCE:
            return None
        if lacks_memory(error):
            return REBUILT if self.by == KEPT else DIFFERENCE
        lacking = ("is not implemented", "once_differentiable", "not been implemented", "not differentiable twice")
        return DIFFERENCE if any(x in text for x in lacking) else None

    def _double_backward(self, v: Params) -> Params:
        out, count = {}, 0
        for i, batch in enumerate(self.batches):
            if self.by == REBUILT:
                w, grads, n = self._graph(batch)
            else:
                if i == len(self.graphs):
                    self.graphs.append(self._graph(batch))
                w, grads, n = self.graphs[i]
            live = {k: g for k, g in grads.items() if g is not None and g.requires_grad}
            if live:
                held = torch.autograd.grad(
                    list(live.values()),
                    list(w.values()),
                    [v[k] for k in live],
                    retain_graph=self.by == KEPT,
                    allow_unused=True,
                )
                out = added(out, filled(w, held))
            count += n
        return over(out, count) if out else {k: torch.zeros_like(x) for k, x in self.w.items()}

    def _graph(self, batch: Any) -> tuple[Params, dict[str, Tensor | None], int]:
        w = leaves(self.w)
        # The fused attention kernels have no second derivative.
        with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
            losses = checked(self.losses(w, batch))
            found = torch.autograd.grad(losses.sum(), list(w.values()), create_graph=True, allow_unused=True)
        grads: dict[str, Tensor | None] = dict(zip(w, found, strict=True))
        refuse_once(found)
        cut = [k for k, g in grads.items() if g is not None and not g.requires_grad]
        if cut and self._moves(cut, batch):
            raise NotImplementedError(f"the second derivative of the loss by {cut[0]} is not implemented.")
        return w, grads, losses.numel()

    def _moves(self, names: list[str], batch: Any) -> bool:
        """Whether gradients that came without a graph change with the weights all the same.

        A kernel that can be differentiated once gives such gradients, and no error; so does a loss that is linear.
        """
        rng = torch.Generator().manual_seed(0)
        v = {k: torch.randn(x.shape, generator=rng).to(x) for k, x in self.w.items()}
        _, ahead, behind = self._ends(v, (batch,))
        changed = {k: ahead[k] - behind[k] for k in names}
        return float(norm(changed)) > 100 * self._precision() * float(norm({k: ahead[k] for k in names}))

    def _difference(self, v: Params) -> Params:
        if not float(norm(v)):
            return {k: torch.zeros_like(x) for k, x in v.items()}
        e, ahead, behind = self._ends(v, self.batches)
        return {k: (x - behind[k]) / (2 * e) for k, x in ahead.items()}

    def _ends(self, v: Params, batches: tuple[Any, ...]) -> tuple[float, Params, Params]:
        """`e`, and the gradients at `w + e v` and `w - e v`."""
        e = self._precision() ** (1 / 3) * (1 + float(norm(self.w))) / float(norm(v))
        ahead, behind = (value_and_grad(self.losses, add(self.w, v, side), batches)[1] for side in (e, -e))
        return e, ahead, behind

    def _precision(self) -> float:
        return max(torch.finfo(x.dtype).eps for x in self.w.values())


def lacks_memory(error: BaseException) -> bool:
    """Whether `error` says that memory is exhausted."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or (isinstance(error, RuntimeError) and any(x in str(error).lower() for x in words))


def refuse_once(outputs: Iterable[Tensor | None]) -> None:
    """NotImplementedError where a kernel on the way to `outputs` can be differentiated once only.

    Autograd passes such a kernel by in silence where its inputs' gradients are asked for, and what comes out is wrong.
    """
    seen, ahead = set(), [x.grad_fn for x in outputs if x is not None]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            raise NotImplementedError(
                "the loss passes a kernel that can be differentiated once only (once_differentiable); its second "
                "derivative is not implemented."
            )
        seen.add(node)
        ahead += [n for n, _ in node.next_functions]


def leaves(w: Params) -> Params:
    """Copies that share memory with the weights and gather their own gradients."""
    return {k: x.detach().requires_grad_() for k, x in w.items()}


def added(total: Params, x: Params) -> Params:
    """`total + x`; `x` itself where there is no total yet."""
    return add(total, x) if total else x


def over(a: Params, count: int) -> Params:
    """`a / count`; not in place, for what autograd gives may be one tensor for two, or the direction itself."""
    return a if count == 1 else {k: x / count for k, x in a.items()}


def filled(w: Params, grads: tuple[Tensor | None, ...]) -> Params:
    """Gradients by name, without history; zero for a tensor that took no part."""
    return {k: torch.zeros_like(x) if g is None else g.detach() for (k, x), g in zip(w.items(), grads, strict=True)}
