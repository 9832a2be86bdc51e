"""Any `torch.optim.Optimizer` class, unmodified, as a part: other people's optimizers as arms of a comparison.

The optimizer is built anew for every step, given what it remembered, asked for one step, and its memory is taken out
again as plain data. So it can be checkpointed, resumed and compared like any other part.
"""

import difflib
import importlib
import inspect
import numbers
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from adamantine.optim import limits
from adamantine.part import Part, State
from adamantine.point import Point, stream
from adamantine.response import Response
from adamantine.torch_state import answer
from adamantine.tree import Params, leaves

SET = "a set of"  # how a set is kept as data
BUILT_BY_TORCH = frozenset(vars(torch.optim.SGD([torch.zeros(1)], lr=0.1)))


@dataclass(frozen=True, init=False)
class TorchStep(Part):
    """`w - w'`, with `w'` where one step of `kind(weights, **options)` leads that finds the direction as gradient.

    `kind` is a class named at the top of a module, or its full name; options are numbers, strings, None and
    tuples of them. Where `step` takes a closure it gets one, which measures the loss and the gradient on the same
    batch wherever the optimizer has moved the weights; `gradients` says how many that costs a step beyond the first.
    Draws from torch's global generator are made from the point's seed. An optimizer with `train()` and `eval()`
    steps in its training mode, and `read` gives the weights of the other.

    Raises TypeError where an optimizer keeps what is not tensors, numbers and containers of them. Draws from
    numpy or Python's `random` stay as they are.
    """

    kind: type[Optimizer] = torch.optim.SGD
    options: tuple[tuple[str, Any], ...] = ()
    gradients: float = 0  # pyright: ignore[reportIncompatibleVariableOverride]
    symmetry: ClassVar[str] = "unknown"
    local: ClassVar[bool] = False

    def __init__(
        self,
        kind: type[Optimizer] | str = torch.optim.SGD,
        options: Mapping[str, Any] | tuple[tuple[str, Any], ...] = (),
        gradients: float = 0,
    ) -> None:
        """Refuse what is no optimizer class or has no identity of its own."""
        try:
            given = dict(options)
        except (TypeError, ValueError) as error:
            mend = 'must be a dict; give {"lr": 1e-3}, say.'
            raise TypeError(f"TorchStep: options is {options!r}, but {mend}") from error
        pairs = tuple((k, _option(k, x)) for k, x in given.items())
        object.__setattr__(self, "kind", _class(kind))
        _accepted(self.kind, dict(pairs))
        object.__setattr__(self, "options", pairs)
        object.__setattr__(self, "gradients", gradients)
        limits.nonnegative(self, gradients=gradients)

    def __repr__(self) -> str:
        """The constructor call, with the class by its full name."""
        more = f", gradients={self.gradients!r}" if self.gradients else ""
        return f'TorchStep("{_name(self.kind)}", {dict(self.options)!r}{more})'

    def init(self, w: Params) -> State:
        """Nothing: the optimizer's own memory appears at its first step."""
        return {}

    def update(self, u: Params, s: State, p: Point) -> tuple[Params, State]:
        """One step of the optimizer, from the direction as its gradient."""
        held = {k: p.w[k] for k in u}
        optimizer, weights = self._built(held, s)
        for k, x in weights.items():
            x.grad = u[k].clone()

        @torch.enable_grad()
        def closure() -> Tensor:
            if all(torch.equal(x, held[k]) for k, x in weights.items()):
                q, grad = p, u
            else:
                q = p.at({**p.w, **{k: x.detach().clone() for k, x in weights.items()}})
                grad = q.grad
            for k, x in weights.items():
                x.grad = grad[k].clone()
            return q.loss.clone()

        with seeded(p.rng("torch step"), held):
            # In a program that steps without a closure there is no loss to give.
            _step(optimizer, closure, getattr(p.task, "closure", closure) is None)
        return {k: p.w[k] - x.detach() for k, x in weights.items()}, self._memory(optimizer, weights)

    def response(self, s: State, p: Point) -> Response | None:
        """What `torch_state` reads of a class of torch's own; None for others."""
        groups = {k: group for group in s.get("groups", ()) for k in p.w}
        return answer(self.kind, groups, s["tensors"], p.w, p.grad) if s else None

    def read(self, w: Params, s: State) -> Params:
        """The weights that the optimizer evaluates, where it has `eval()`; else `w`."""
        if not s or not hasattr(self.kind, "eval"):
            return w
        optimizer, weights = self._built(w, s)
        optimizer.eval()
        return {k: x.detach() for k, x in weights.items()}

    def state_bytes(self, w: Params) -> int:
        """Measured on two steps of random gradients; a history that grows longer (L-BFGS) is not foreseen."""
        rng = stream(0, "dry run")
        held = {k: torch.ones(x.shape, dtype=x.dtype, device="cpu") for k, x in w.items()}
        s: State = {}
        with seeded(rng, held):
            for _ in range(2):
                optimizer, weights = self._built(held, s)
                for x in weights.values():
                    x.grad = torch.randn(x.shape, generator=rng).to(x.dtype)
                _step(optimizer, lambda: torch.zeros(()))
                held, s = {k: x.detach() for k, x in weights.items()}, self._memory(optimizer, weights)
        return sum(x.numel() * x.element_size() for _, x in leaves(s))

    def _built(self, w: Params, s: State) -> tuple[Any, dict[str, torch.nn.Parameter]]:
        """The optimizer as it was after the step that left `s`, on copies of `w`."""
        weights = {k: torch.nn.Parameter(x.detach().clone()) for k, x in w.items()}
        optimizer: Any = self.kind(list(weights.values()), **dict(self.options))
        if hasattr(optimizer, "train"):
            optimizer.train()
        if s:
            for k, x in s["tensors"].items():
                optimizer.state[weights[k]] = _copy(x)
            for k, x in s["shared"].items():
                optimizer.state[k] = _copy(x)
            for group, x in zip(optimizer.param_groups, s["groups"], strict=True):
                group.update(_copy(x))
            vars(optimizer).update(_copy(s["own"]))
        return optimizer, weights

    def _memory(self, optimizer: Any, weights: dict[str, torch.nn.Parameter]) -> State:
        """All that the optimizer keeps, as plain data."""
        names = {id(x): k for k, x in weights.items()}
        kept = {k: x for k, x in vars(optimizer).items() if k not in BUILT_BY_TORCH and not callable(x)}
        return {
            "tensors": {
                names[id(k)]: self._data(x, names[id(k)]) for k, x in optimizer.state.items() if id(k) in names
            },
            "shared": {k: self._data(x, str(k)) for k, x in optimizer.state.items() if id(k) not in names},
            "groups": tuple(
                {k: self._data(x, k) for k, x in group.items() if k != "params" and not _fixed(x)}
                for group in optimizer.param_groups
            ),
            "own": {k: self._data(x, k) for k, x in kept.items() if not _fixed(x) and not _touches(x, names)},
        }

    def _data(self, x: Any, where: str) -> Any:
        if isinstance(x, Tensor):
            return x.detach()
        if x is None or isinstance(x, (bool, int, float, str)):
            return x
        if isinstance(x, dict) and all(isinstance(k, str) for k in x):
            return {k: self._data(y, f"{where}.{k}") for k, y in x.items()}
        if type(x) in (tuple, list):
            return type(x)(self._data(y, where) for y in x)
        if isinstance(x, set):
            return {SET: tuple(self._data(y, where) for y in sorted(x))}
        if isinstance(x, numbers.Number) and hasattr(x, "item"):
            return getattr(x, "item")()  # noqa: B009 (one of numpy's)
        mend = "cannot be carried from step to step as data; use an optimizer that keeps tensors and numbers."
        raise TypeError(f"TorchStep: {self.kind.__name__} keeps {where!r}, a {type(x).__name__}, which {mend}")


@contextmanager
def seeded(rng: torch.Generator, w: Params):
    """Torch's global generators set from `rng`, and put back afterwards."""
    devices = {x.device for x in w.values() if x.device.type == "cuda"}
    with torch.random.fork_rng(list(devices)):
        torch.manual_seed(rng.initial_seed())
        yield


def _step(optimizer: Any, closure: Callable[[], Tensor], spare: bool = False) -> None:
    place = inspect.signature(optimizer.step).parameters.get("closure")
    optimizer.step() if place is None or (spare and place.default is None) else optimizer.step(closure)


def _copy(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x.clone()
    if isinstance(x, dict):
        return set(x[SET]) if SET in x else {k: _copy(y) for k, y in x.items()}
    return type(x)(map(_copy, x)) if isinstance(x, (tuple, list)) else x


def _fixed(x: Any) -> bool:
    """Whether it is what no step changes and every construction makes anew."""
    return callable(x) or isinstance(x, (torch.dtype, torch.device))


def _touches(x: Any, names: dict[int, str]) -> bool:
    """Whether weights are among it: the constructor has put them there."""
    return any(id(y) in names for _, y in leaves(x))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _class(kind: Any) -> type[Optimizer]:
    if isinstance(kind, str):
        module, _, name = kind.rpartition(".")
        try:
            kind = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            mend = 'give the full name of one that is installed, "torch.optim.AdamW", say'
            raise ValueError(f"TorchStep: {kind!r} cannot be imported ({error}); {mend}.") from error
    if not (isinstance(kind, type) and issubclass(kind, Optimizer)):
        mend = "give its class, as in torch.optim.AdamW."
        raise TypeError(f"TorchStep: kind {kind!r} is no torch.optim.Optimizer; {mend}")
    if "<" in kind.__qualname__:
        mend = "define the class at the top of a module"
        raise ValueError(f"TorchStep: {kind.__qualname__} has no name outside the function that made it; {mend}.")
    return kind


def _accepted(kind: type[Optimizer], options: dict[str, Any]) -> None:
    """Build one on a small matrix: what its constructor refuses is refused here."""
    known = inspect.signature(kind).parameters
    for k in (k for k in options if k not in known and not any(x.kind is x.VAR_KEYWORD for x in known.values())):
        near = difflib.get_close_matches(k, known, 3, 0.55) or [*known][1:]
        raise TypeError(f"TorchStep: {kind.__name__} takes no option {k!r}, but {', '.join(near)}; give one of these.")
    try:
        kind([torch.nn.Parameter(torch.zeros(2, 2))], **options)
    except (TypeError, ValueError, AssertionError) as error:
        why = f"cannot be built with {options!r} ({error}); give the options it asks for."
        raise ValueError(f"TorchStep: {kind.__name__} {why}") from error


def _option(name: str, x: Any) -> Any:
    if isinstance(x, (tuple, list)):
        return tuple(_option(name, y) for y in x)
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    mend = "options must be numbers, strings, None and tuples of them, which have an identity; give it as one of these."
    raise TypeError(f"TorchStep: option {name!r} is a {type(x).__name__}, but {mend}")
