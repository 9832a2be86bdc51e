"""What any `torch.optim.Optimizer` in a running loop says of itself: its answer to a gradient, and its averages."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from adamantine import torch_state
from adamantine.for_torch import TorchOptimizer
from adamantine.live import Moment
from adamantine.part import Part, State
from adamantine.point import Point
from adamantine.rated import rated
from adamantine.response import Response, joined
from adamantine.tree import Params


class TorchReading:
    """What stands for `optimizer` at a `Point`; `names` are its parameters, as the point calls them.

    It looks at the optimizer's own memory, which must be that after the step at the point. Exact classes of
    `torch.optim` are read by `torch_state`, ours by its parts; of others there are moments, where the state has them
    under the usual names.
    """

    def __init__(self, optimizer: Optimizer, names: Mapping[str, Tensor]) -> None:
        self.optimizer, self.names = optimizer, dict(names)

    @property
    def unanswered(self) -> str | None:
        """Why there is no response, where the class or its options are the reason."""
        if isinstance(self.optimizer, TorchOptimizer):
            return None
        if type(self.optimizer) in torch_state.READERS:
            return "climbs its loss" if any(g.get("maximize") for g in self.optimizer.param_groups) else None
        return "has a state that is not known here to be linear in its gradients"

    def response(self, s: Sequence[Mapping[str, Any]] | None, p: Point) -> Response | None:
        """How the optimizer answers a small change of the gradient at `p`; None where nobody knows, or nothing linear.

        `s` are the options of every group at the step; None: those of now.
        """
        if isinstance(self.optimizer, TorchOptimizer):
            return self._ours(self.optimizer, s, p)
        if type(self.optimizer) not in torch_state.READERS:
            return None
        groups, states = self._read(s)
        return torch_state.answer(type(self.optimizer), groups, states, p.w, p.grad)

    def moments(self, s: Sequence[Mapping[str, Any]] | None, w: Params) -> tuple[Moment, ...]:
        """Averages of the gradient and of its square for the tensors `w`."""
        if isinstance(self.optimizer, TorchOptimizer):
            called = self._called(self.optimizer)
            held = [
                replace(m, value={called[k]: x for k, x in m.value.items() if called.get(k) in w})
                for part, names, kept in _kept(self.optimizer, s)
                for m in part.moments(kept, {k: w[called[k]] for k in names if called.get(k) in w})
            ]
            return tuple(m for m in held if m.value)
        groups, states = self._read(s)
        return torch_state.moments(groups, {k: x for k, x in states.items() if k in w})

    def __repr__(self) -> str:
        """The class of the optimizer."""
        return type(self.optimizer).__name__

    def _read(self, s: Sequence[Mapping[str, Any]] | None) -> tuple[dict[str, Mapping[str, Any]], dict[str, Any]]:
        """The options and the memory of every tensor, by name."""
        group_of = {
            id(x): options
            for group, options in zip(self.optimizer.param_groups, s or self.optimizer.param_groups, strict=True)
            for x in group["params"]
        }
        groups = {k: group_of[id(x)] for k, x in self.names.items() if id(x) in group_of}
        return groups, {k: self.optimizer.state.get(x, {}) for k, x in self.names.items()}

    def _called(self, optimizer: TorchOptimizer) -> dict[str, str]:
        """By the optimizer's own names, those of the point."""
        mine = {id(x): k for k, x in self.names.items()}
        own = [(k, x) for g in optimizer.param_groups for k, x in zip(g["param_names"], g["params"], strict=True)]
        return {k: mine[id(x)] for k, x in own if id(x) in mine}

    def _ours(self, optimizer: TorchOptimizer, s: Sequence[Mapping[str, Any]] | None, p: Point) -> Response | None:
        called = self._called(optimizer)
        told: list[Response] = []
        for part, names, kept in _kept(optimizer, s):
            w = {k: p.w[called[k]] for k in names if called.get(k) in p.w}
            g = {k: p.grad[called[k]] for k in w}
            q = replace(p.given(g, w), step=optimizer._count - 1, steps=optimizer._steps)
            found = part.response(kept, q) if w else None
            if w and found is None:
                return None
            if found is not None:
                told.append(_renamed(found, called))
        return joined(told, p.grad, p.w)


def _kept(
    optimizer: TorchOptimizer, s: Sequence[Mapping[str, Any]] | None
) -> Iterator[tuple[Part, tuple[str, ...], State]]:
    """Every composition at its rate in `s`, with the names of parameters that share a state, and the state."""
    for i, (cohorts, group) in enumerate(zip(optimizer._kept, s or optimizer.param_groups, strict=True)):
        part = rated(optimizer._bound[i], group["base_lr"], float(group["lr"]))
        yield from ((part, names, kept) for names, kept in cohorts.kept)


def _renamed(told: Response, called: dict[str, str]) -> Response:
    """The same answer under the point's names."""
    if all(called[k] == k for k in told.scale):
        return told
    scale, flip, pull = ({called[k]: x for k, x in y.items()} for y in (told.scale, told.flip, told.pull))
    out = None if told.out is None else {called[k]: x for k, x in told.out.items()}
    return Response(scale, flip, pull, told.basis and _Called(told.basis, called), out)


class _Called:
    """A basis, under other names."""

    def __init__(self, basis: Any, called: dict[str, str]) -> None:
        self.basis, self.called = basis, called
        self.normalizes = getattr(basis, "normalizes", frozenset())

    def forth(self, a: Params) -> Params:
        """Into the basis."""
        back = {x: k for k, x in self.called.items()}
        return {self.called[k]: x for k, x in self.basis.forth({back[k]: x for k, x in a.items()}).items()}

    def back(self, a: Params) -> Params:
        """Out of it."""
        back = {x: k for k, x in self.called.items()}
        return {self.called[k]: x for k, x in self.basis.back({back[k]: x for k, x in a.items()}).items()}
