"""What fused layers do, found by changing their outputs in a forward pass and looking at what arrives.

Names mislead: layers called qkv_proj give query, key and value in turn (Phi-3), interleaved within each head (MiniMax)
or in another order (CodeGen). But values that are the same at every token leave attention as they are, whatever the
weights; a query acts on its own token only; and a gated layer is linear in what the gate multiplies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adamantine.point import stream
from adamantine.tag_layers import Trial, called, quietly

TOKEN = 1  # with at least one before it and one after, so that causal attention does not hide what is a key


@dataclass(frozen=True)
class Stretch:
    """Outputs `start` to `stop` of the layer called `name`."""

    name: str
    start: int = 0
    stop: int | None = None

    @property
    def slice(self) -> slice:
        """As an index."""
        return slice(self.start, self.stop)


Edit = Callable[[Tensor], Tensor]


def arrives(model: nn.Module, run: Trial, edits: dict[str, Edit], at: str) -> Tensor | None:
    """The input of the layer `at` where each layer in `edits` gives random numbers, then edited; None if unused."""
    modules, got = dict(model.named_modules()), []

    def replaced(name: str, edit: Edit) -> Any:
        def hook(module: nn.Module, given: Any, out: Tensor) -> Tensor:
            noise = torch.randn(out.shape, generator=stream(0, name), dtype=torch.float64)
            return edit(noise).to(out.device, out.dtype)

        return hook

    handles = [modules[k].register_forward_hook(replaced(k, edit)) for k, edit in edits.items()]
    handles.append(modules[at].register_forward_pre_hook(lambda module, given: got.append(given[0])))
    try:
        with quietly(model):
            called(model, run.inputs)
    except Exception:
        return None
    finally:
        for handle in handles:
            handle.remove()
    return got[0].double().cpu() if got and not got[0].is_meta else None


def in_turn(model: nn.Module, run: Trial, name: str, sizes: tuple[int, int, int], heads: int, at: str) -> bool:
    """Whether the layer gives query, key and value of these `sizes` one after another to attention before `at`."""
    q, k, v = sizes
    if name not in run.used or at not in run.used:
        return False
    constant = torch.randn(v, generator=stream(0, "constant"), dtype=torch.float64)

    def same_values(y: Tensor) -> Tensor:
        y[..., q + k :] = constant
        return y

    def other_query(y: Tensor) -> Tensor:
        if y.shape[-2] > TOKEN + 1:
            y[..., TOKEN, :q] = y[..., TOKEN, :q].flip(-1) + 1
        return y

    plain = arrives(model, run, {name: lambda y: y}, at)
    values = arrives(model, run, {name: same_values}, at)
    query = arrives(model, run, {name: other_query}, at)
    if plain is None or values is None or query is None or plain.shape[-1] != q or plain.ndim < 2:
        return False
    size = q // heads
    expected = constant.view(-1, size).repeat_interleave(q // v, 0).flatten().expand_as(values)
    moved = (query - plain).abs().amax(-1).reshape(-1, plain.shape[-2]).amax(0) > _tolerance(model)
    alone = bool(moved[TOKEN]) and int(moved.sum()) == 1 if len(moved) > TOKEN + 1 else False
    return alone and bool(((values - expected).abs() <= _tolerance(model) * (1 + expected.abs())).all())


def multiplied(model: nn.Module, run: Trial, pieces: tuple[Stretch, ...], at: str) -> int | None:
    """Which of two pieces of a gated layer goes through no nonlinearity, and is therefore "up"; None if not one."""
    if not {at, *(x.name for x in pieces)} <= set(run.used):
        return None

    def arriving(doubled: Stretch | None) -> Tensor | None:
        def edit(name: str) -> Edit:
            def double(y: Tensor) -> Tensor:
                if doubled is not None and doubled.name == name:
                    y[..., doubled.slice] *= 2
                return y

            return double

        return arrives(model, run, {x.name: edit(x.name) for x in pieces}, at)

    plain = arriving(None)
    twice = [arriving(x) for x in pieces]
    if plain is None or any(x is None or x.shape != plain.shape for x in twice):
        return None
    linear = [
        bool(((x - 2 * plain).abs() <= _tolerance(model) * (1 + plain.abs())).all()) for x in twice if x is not None
    ]
    return linear.index(True) if sum(linear) == 1 else None


def _tolerance(model: nn.Module) -> float:
    return 1e-4 if next(model.parameters()).dtype in (torch.float32, torch.float64) else 3e-2
