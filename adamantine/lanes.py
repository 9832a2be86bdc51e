"""An optimizer applied to a stack of runs, each with its own numbers and its own state.

Four ways, from fast to sure: on all weights of a run as one vector; on one vector for each first part of the tensors'
names (`actor`, `critic`); on every tensor; and run by run. The first three go through `torch.func.vmap`. One vector for
many tensors is right only for parts that do not ask what belongs to which tensor, so at the first step each way is
tried beside the last one, at steps spread over training and with a renewal, on two runs and the gradients at hand: the
first that gives the same updates to rounding is taken.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from adamantine import tree
from adamantine.part import Part
from adamantine.point import Point
from adamantine.slots import merged, placed

Groups = dict[str, list[str]]
TOLERANCE = 1e-3
TRIALS = 8


class Lanes:
    """The optimizers `parts` of `S` runs, equal but for numbers, and their states."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self.way: Way | None = None
        self.s: Any = None

    def update(self, p: Point, seeds: Sequence[str], renewed: bool) -> tree.Params:
        """Updates `[S, ...]` at a point whose weights, batch and gradient are stacked; the states are replaced."""
        if self.way is None:
            self.way = _found(self.parts, p, seeds)
            self.s = self.way.init(p.w)
        u, self.s = self.way.update(p, self.s, seeds, renewed)
        return u

    def state(self, i: int, w: tree.Params) -> Any:
        """The state of run `i`, whose weights are `w`, as it would be alone."""
        assert self.way is not None
        return self.way.apart(self.way.state(self.s, i), w)

    def read(self, w: tree.Params, i: int) -> tree.Params:
        """The weights of run `i` to evaluate."""
        return w if self.way is None else self.way.read(w, self.s, i)

    def state_dict(self) -> Any:
        """Everything but the parts."""
        return None if self.way is None else {"s": self.s, "groups": self.way.groups}

    def load_state_dict(self, held: Any) -> None:
        """Go on from `held`."""
        if held is not None:
            self.s, self.way = held["s"], Way(self.parts, held["groups"])


class Way:
    """One way: `groups` names the vectors and the tensors they are made of; None for run by run."""

    def __init__(self, parts: Sequence[Part], groups: Groups | None) -> None:
        self.parts, self.groups = list(parts), groups
        self.numbers: list[list[float]] = []
        self.placed: list[Tensor] | None = None
        self.part = parts[0] if groups is None else merged(list(parts), self.numbers)

    def init(self, w: tree.Params) -> Any:
        """States of all runs: a list of them, or one of stacked tensors."""
        joined = w if self.groups is None else self._joined(w)
        found = [part.init({k: x[i] for k, x in joined.items()}) for i, part in enumerate(self.parts)]
        if self.groups is None:
            return found
        return tree_map(lambda *xs: torch.stack(xs) if isinstance(xs[0], Tensor) else _equal(xs), *found)

    def update(self, p: Point, s: Any, seeds: Sequence[str], renewed: bool) -> tuple[tree.Params, Any]:
        """Updates and new states."""
        if self.groups is None:
            return self._one_by_one(p, s, seeds, renewed)
        w, grad = self._joined(p.w), self._joined(p.grad)
        tensors, rest = _parted(s)
        like = next(iter(w.values()))
        if self.placed is None:
            self.placed = [torch.tensor(x, dtype=like.dtype, device=like.device) for x in self.numbers]
        # Where tensors are joined, nobody could ask the task anything about a batch: it would only cost.
        batch = p.batch if all(len(members) == 1 for members in self.groups.values()) else None
        new: list[Any] = []

        def one(w: tree.Params, grad: tree.Params, batch: Any, tensors: list[Tensor], numbers: list[Tensor]) -> Any:
            part = placed(self.part, numbers)
            own = Point(p.task, w, batch, p.step, p.steps, _Nobody(), renewals=p.renewals).given(grad)  # pyright: ignore
            state = rest(tensors)
            state = part.renew(state, own) if renewed else state
            u, state = part.update(own.grad, state, own)
            tensors, put = _parted(state)
            new[:] = [put]
            return u, tensors

        u, tensors = torch.func.vmap(one, (0, 0, None if batch is None else 0, 0, 0), randomness="error")(
            w, grad, batch, tensors, self.placed
        )
        return self._cut(u, p.w), new[0](tensors)

    def _one_by_one(self, p: Point, s: Any, seeds: Sequence[str], renewed: bool) -> tuple[tree.Params, Any]:
        us, states = [], []
        for i, (part, state) in enumerate(zip(self.parts, s, strict=True)):
            w, batch, grad = of((p.w, p.batch, p.grad), i)
            own = Point(p.task, w, batch, p.step, p.steps, seeds[i], renewals=p.renewals).given(grad)
            state = part.renew(state, own) if renewed else state
            u, state = part.update(own.grad, state, own)
            us.append(u)
            states.append(state)
        return {k: torch.stack([u[k] for u in us]) for k in us[0]}, states

    def state(self, s: Any, i: int) -> Any:
        """The state of run `i`."""
        return s[i] if self.groups is None else of(s, i)

    def apart(self, s: Any, w: tree.Params) -> Any:
        """A run's state with vectors, where there are any in dicts by their names, cut into tensors like `w`."""
        if isinstance(s, tuple):
            return tuple(self.apart(x, w) for x in s)
        if not isinstance(s, dict) or self.groups is None:
            return s
        found = {}
        for name, x in s.items():
            members = self.groups.get(name, [])
            if isinstance(x, Tensor) and members and x.numel() == sum(w[k].numel() for k in members):
                parts = x.reshape(-1).split([w[k].numel() for k in members])
                found |= {k: part.reshape(w[k].shape) for k, part in zip(members, parts, strict=True)}
            else:
                found[name] = self.apart(x, w)
        return found

    def read(self, w: tree.Params, s: Any, i: int) -> tree.Params:
        """The weights of run `i` to evaluate, from its weights."""
        if self.groups is None:
            return self.parts[i].read(w, s[i])
        one = {k: x.unsqueeze(0) for k, x in w.items()}
        joined = {k: x[0] for k, x in self._joined(one).items()}
        return {
            k: x[0]
            for k, x in self._cut(
                tree.each(lambda x: x[None], self.parts[i].read(joined, self.state(s, i))), one
            ).items()
        }

    def _joined(self, w: tree.Params) -> tree.Params:
        """The vectors `[S, n]`; tensors that make one alone stay as they are."""
        assert self.groups is not None
        found = {}
        for name, members in self.groups.items():
            whole = members == [name]
            found[name] = w[name] if whole else torch.cat([w[k].flatten(1) for k in members], 1)
        return found

    def _cut(self, u: tree.Params, w: tree.Params) -> tree.Params:
        """Inverse of `_joined`."""
        assert self.groups is not None
        found = {}
        for name, members in self.groups.items():
            if members == [name]:
                found[name] = u[name]
            else:
                parts = u[name].split([w[k][0].numel() for k in members], 1)
                found |= {k: x.reshape(w[k].shape) for k, x in zip(members, parts, strict=True)}
        return {k: found[k] for k in w}


def _found(parts: list[Part], p: Point, seeds: Sequence[str]) -> Way:
    """The fastest way that does what doing it run by run does."""
    two = slice(0, 2)
    small = Point(p.task, _sliced(p.w, two), _sliced(p.batch, two), 0, p.steps, renewals=p.renewals)
    grad = _sliced(p.grad, two)
    sure = _tried(Way(parts[two], None), small, grad, seeds[two])
    heads = {k: k.split(".")[0] for k in p.w}
    by_head = {f"{h}.all": [k for k in p.w if heads[k] == h] for h in dict.fromkeys(heads.values())}
    for groups in ({"all": [*p.w]}, by_head, {k: [k] for k in p.w}):
        try:
            found = _tried(Way(parts[two], groups), small, grad, seeds[two])
        except Exception:  # whatever vmap or the part cannot do
            continue
        if all(_close(a, b) for a, b in zip(found, sure, strict=True)):
            return Way(parts, groups)
    return Way(parts, None)


def _tried(way: Way, p: Point, grad: tree.Params, seeds: Sequence[str]) -> list[tree.Params]:
    """Updates at a few steps spread over training, by random multiples of the gradient."""
    rng = torch.Generator().manual_seed(0)
    s, found, w = way.init(p.w), [], p.w
    for step in sorted({round(i * (p.steps - 1) / (TRIALS - 1)) for i in range(TRIALS)} | {min(1, p.steps - 1)}):
        noise = {k: torch.randn(x.shape, generator=rng).to(x) for k, x in grad.items()}
        drawn = {k: x * noise[k] + 1e-3 * noise[k] for k, x in grad.items()}
        here = dataclasses.replace(p, w=w, step=step, memo={}).given(drawn)
        u, s = way.update(here, s, seeds, len(found) == TRIALS // 2)
        w = tree.add(w, u, -1.0)
        found.append(u)
    return found


def _close(a: tree.Params, b: tree.Params) -> bool:
    return float(tree.norm(tree.add(a, b, -1.0))) <= TOLERANCE * float(tree.norm(b)) and all(
        torch.allclose(x, b[k], rtol=TOLERANCE, atol=TOLERANCE * float(b[k].abs().mean())) for k, x in a.items()
    )


class _Nobody:
    """The seed of a stack: whoever asks for randomness must be run by itself."""

    def __format__(self, spec: str) -> str:
        raise ValueError("lanes: the runs of a stack have no seed in common.")


def _parted(s: Any) -> tuple[list[Tensor], Callable[[list[Tensor]], Any]]:
    """The tensors of a state, and what puts others in their places."""
    leaves, spec = tree_flatten(s)
    which = [isinstance(x, Tensor) for x in leaves]

    def put(tensors: list[Tensor]) -> Any:
        it = iter(tensors)
        return tree_unflatten([next(it) if held else x for x, held in zip(leaves, which, strict=True)], spec)

    return [x for x, held in zip(leaves, which, strict=True) if held], put


def _equal(xs: Sequence[Any]) -> Any:
    if any(x != xs[0] for x in xs):
        raise ValueError("lanes: a number in the state differs between runs.")
    return xs[0]


def of(x: Any, i: int) -> Any:
    """What belongs to run `i`."""
    return tree_map(lambda leaf: leaf[i] if isinstance(leaf, Tensor) else leaf, x)


def _sliced(x: Any, which: slice) -> Any:
    return tree_map(lambda y: y[which] if isinstance(y, Tensor) else y, x)
