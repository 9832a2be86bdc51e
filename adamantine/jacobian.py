"""Products with the Jacobian by reverse mode alone: the Gauss-Newton matrix, and the slopes of single examples."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.nn.attention import SDPBackend, sdpa_kernel

from adamantine.derivatives import Losses, added, checked, filled, leaves, over, refuse_once
from adamantine.tree import Params


class GaussNewton:
    """Products with `J' H_l J`: `J` the derivative of the outputs by the weights, `H_l` of the losses by the outputs.

    `forward(w, batch)` gives outputs (a tensor, or several in a tuple) and the losses computed from them alone, in one
    graph, which is kept. `J v` is the derivative by `y` of `v' J' y`, which is linear in `y`. Outputs that the losses
    are not computed from, such as features on the way to logits, are left aside.

    A product raises ValueError where the losses depend on the weights otherwise than through the outputs, or the
    outputs that they are computed from depend on one another.
    """

    def __init__(self, forward: Callable[[Params, Any], Any], w: Params, batches: tuple[Any, ...]) -> None:
        self.forward, self.w, self.batches = forward, w, batches
        self.graphs: list[Any] = []

    def __call__(self, v: Params) -> Params:
        """`J' H_l J v`."""
        out, count = {}, 0
        for i, batch in enumerate(self.batches):
            if i == len(self.graphs):
                self.graphs.append(self._graph(batch))
            w, outputs, slopes, y, pulled, n = self.graphs[i]
            count += n
            pushed = _pushed(pulled, y, v, True)
            live = [k for k, s in enumerate(slopes) if s is not None and s.requires_grad]
            if not live:  # losses that are linear in the outputs
                continue
            inner = torch.autograd.grad(
                [slopes[k] for k in live], outputs, [pushed[k] for k in live], retain_graph=True, allow_unused=True
            )
            kept = [(o, t) for o, t in zip(outputs, inner, strict=True) if t is not None]
            held = torch.autograd.grad(
                [o for o, _ in kept],
                list(w.values()),
                [t for _, t in kept],
                retain_graph=True,
                allow_unused=True,
            )
            out = added(out, filled(w, held))
        return over(out, count) if out else {k: torch.zeros_like(x) for k, x in self.w.items()}

    def _graph(self, batch: Any) -> Any:
        w = leaves(self.w)
        with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
            outputs, losses = self.forward(w, batch)
            outputs = _met([outputs] if isinstance(outputs, Tensor) else list(outputs), checked(losses), w)
            slopes = torch.autograd.grad(losses.sum(), outputs, create_graph=True, allow_unused=True)
            y, pulled = _pulled(outputs, w)
        refuse_once([*slopes, *pulled.values()])
        return w, outputs, slopes, y, pulled, losses.numel()


def each_dot(losses: Losses, w: Params, batches: tuple[Any, ...], v: Params) -> Tensor:
    """Inner product of every example's gradient with `v`, `[B]`: two backward passes, and no gradient of an example."""
    found = []
    for batch in batches:
        at = leaves(w)
        with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
            of_each = checked(losses(at, batch)).reshape(-1)
            y, pulled = _pulled([of_each], at)
        refuse_once(pulled.values())
        found.append(_pushed(pulled, y, v, False)[0].detach())
    return torch.cat(found)


def _met(outputs: list[Tensor], losses: Tensor, w: Params) -> list[Tensor]:
    """The outputs that losses are computed from, each once: slopes in others would be counted along two ways."""
    by_edge = {_edge(x): x for x in outputs if x.requires_grad}
    met = _behind([_edge(losses)] if losses.requires_grad else [], set(by_edge))
    used = {edge: x for edge, x in by_edge.items() if edge in met}
    if not used or any(_edge(x) in met - set(used) for x in w.values()):
        raise ValueError(
            "the losses depend on the weights otherwise than through the outputs, which the Gauss-Newton matrix would "
            "leave out; compute them from nothing but the outputs."
        )
    if _behind([before for node, _ in used for before in node.next_functions], set()) & set(used):
        raise ValueError(
            "outputs that the losses are computed from depend on one another, so that the Gauss-Newton matrix is not "
            "defined by them; compute the losses from outputs of which none is made from another."
        )
    return list(used.values())


def _edge(x: Tensor) -> tuple[Any, int]:
    """Where `x` stands in the graph."""
    edge = get_gradient_edge(x)
    return edge.node, edge.output_nr


def _behind(ahead: list[tuple[Any, int]], last: set[tuple[Any, int]]) -> set[tuple[Any, int]]:
    """What is met on the way back from `ahead`, not going on behind `last`."""
    met, ahead = set(), list(ahead)
    while ahead:
        edge = ahead.pop()
        if edge[0] is None or edge in met:
            continue
        met.add(edge)
        ahead += [] if edge in last else edge[0].next_functions
    return met


def _pulled(outputs: list[Tensor], w: Params) -> tuple[list[Tensor], dict[str, Tensor | None]]:
    """`y`, and `J' y` with its graph."""
    y = [torch.zeros_like(o).requires_grad_() for o in outputs]
    pulled = torch.autograd.grad(outputs, list(w.values()), y, create_graph=True, allow_unused=True)
    return y, dict(zip(w, pulled, strict=True))


def _pushed(pulled: dict[str, Tensor | None], y: list[Tensor], v: Params, keep: bool) -> list[Tensor]:
    """`J v`."""
    live = {k: x for k, x in pulled.items() if x is not None and x.requires_grad}
    found = torch.autograd.grad(list(live.values()), y, [v[k] for k in live], retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(a) if x is None else x for a, x in zip(y, found, strict=True)]
