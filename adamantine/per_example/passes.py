"""One pass forward and one backward, and what they give of every parameter."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adamantine.per_example.fallback import Losses, by_loop, by_vmap
from adamantine.per_example.products import Gathered, gram, squares
from adamantine.per_example.record import MOVED, SAME, TURNED, Record, Source
from adamantine.per_example.rules import term
from adamantine.per_example.terms import Dense, Outer
from adamantine.per_example.trial import Plan, numbers, read
from adamantine.tree import Params

GRADS, NORMS, GRAM = "grads", "norms", "gram"
HOOKS, VMAP, LOOP = "hooks", "vmap", "loop"
# How far what the rules make may be from what autograd makes; float32 is used inside models in float64.
AGREE, ROUGHLY = {torch.float64: 1e-5, torch.float32: 1e-3}, 5e-2
SHAPES = 32  # for so many are plans remembered


@dataclass(frozen=True, eq=False)
class Answer:
    """Losses `[B]`; `found`: gradients `[B, ...]` or squared norms `[B]`, by tensor, or the Gram matrix `[B, B]`.

    `total` is the gradient of the sum of the losses, where it was asked for, and `how` says of every tensor by what
    it was served: "hooks", "vmap" or "loop".
    """

    losses: Tensor
    found: Params
    total: Params | None
    how: dict[str, str]


@dataclass(frozen=True, eq=False)
class Asked:
    """Losses with their graph, and the operations on the way to them."""

    function: Losses
    w: Params
    batch: Any
    record: Record
    losses: Tensor

    def answer(self, plans: dict[Any, Plan], want: str, total: bool) -> Answer:
        """What is wanted, by a plan among `plans` or a new one; raises Coupled where the examples are."""
        plan, gathered = self._served(plans)
        others = self._others(plan)
        found, sums = {}, {}
        with self._exact():
            for k in self.w:
                g = gathered[k] if k in gathered else _given(others[k])
                one, sums[k] = _one(g, want, total)
                if want != GRAM:
                    found[k] = one
                else:
                    found[GRAM] = one if GRAM not in found else found[GRAM].add_(one)
        how = {k: HOOKS if k in gathered else VMAP if k in plan.vmap else LOOP for k in self.w}
        return Answer(self.losses.detach(), found, sums if total else None, how)

    @contextmanager
    def _exact(self) -> Iterator[None]:
        """Without history, and in the precision of the weights whatever the surroundings ask for."""
        with torch.no_grad(), torch.autocast(self.losses.device.type, enabled=False):
            yield

    def _served(self, plans: dict[Any, Plan]) -> tuple[Plan, dict[str, Gathered]]:
        operations = self.record.operations
        key = (len(self.losses), self.losses.dtype, tuple(op.signature() for op in operations))
        key = (*key, tuple(self.w), tuple(sorted(self.record.lost)))
        plan = plans.get(key)
        if plan is not None:
            gradients = self._backward(self.losses.sum(), bool(plan.loop) or None in plan.layouts)
            with self._exact():
                gathered = self._terms(plan, gradients)
            if gathered is not None:
                return plan, gathered
        plan, gathered = self._tried()
        if plan.certain:
            while len(plans) >= SHAPES:
                del plans[next(iter(plans))]
            plans[key] = plan
        return plan, gathered

    def _backward(self, value: Tensor, retain: bool, also: Sequence[Tensor] = ()) -> list[Tensor | None]:
        """The gradient of `value` with respect to the result of every operation, and to tensors `also`."""
        inputs: list[Any] = [*(op.edge for op in self.record.operations), *also]
        if not inputs or not value.requires_grad:
            return [None] * len(inputs)
        backs = any(s.how not in (SAME, TURNED) for op in self.record.operations for _, s in op.sources)
        return list(torch.autograd.grad(value, inputs, retain_graph=retain or backs, allow_unused=True))

    def _tried(self) -> tuple[Plan, dict[str, Gathered]]:
        """The plan, from one backward pass more; and what it gives here."""
        c, names = numbers(self.losses), list(self.w)
        plain = self._backward(self.losses.sum(), True)
        scaled = self._backward((c * self.losses).sum(), True, list(self.w.values()))
        grads = dict(zip(names, scaled[len(plain) :], strict=True))
        target = {k: torch.zeros_like(self.w[k]) if g is None else g for k, g in grads.items()}
        reached, scaled = [g for g in grads.values() if g is not None], scaled[: len(plain)]
        readings = [read(a, b, c) for a, b in zip(plain, scaled, strict=True)]
        lost = set(self.record.lost)
        for op, (layout, certain), d in zip(self.record.operations, readings, plain, strict=True):
            if layout is None and d is not None and (certain or not bool(torch.isfinite(d).all())):
                lost |= {k for _, s in op.sources for k in s.names}
        layouts = tuple(layout for layout, _ in readings)
        gathered = None
        with self._exact():
            while gathered is None:
                gathered = self._terms(Plan(layouts, loop=tuple(sorted(lost))), plain, lost)
        largest = max(float(x.nan_to_num(0, 0, 0).norm()) for x in target.values())
        kinds = {x.dtype for x in (self.losses, *target.values(), *(d for d in plain if d is not None))}
        close = max(AGREE.get(kind, ROUGHLY) for kind in kinds)
        with self._exact():
            for k, g in list(gathered.items()):
                if not _agree(g.weighted(c.to(g.like.dtype)), target[k], largest, close):
                    lost.add(k)
                    del gathered[k]
        rest = tuple(k for k in names if k in lost)
        by_map = by_vmap(self.function, self.w, list(rest), self.batch, len(c)) if rest else {}
        agree = by_map is not None and all(
            _agree(torch.tensordot(c.to(x.dtype), x, 1), target[k], largest, close) for k, x in by_map.items()
        )
        certain = all(certain for _, certain in readings) and all(_telling(x) for x in reached)
        return Plan(layouts, rest if agree else (), () if agree else rest, certain), gathered

    def _terms(
        self, plan: Plan, gradients: list[Tensor | None], lost: set[str] | None = None
    ) -> dict[str, Gathered] | None:
        """The terms of every parameter that is not served otherwise; None where the plan does not fit, see `lost`."""
        served = [k for k in self.w if k not in plan.loop and k not in plan.vmap]
        terms: dict[str, list] = {k: [] for k in served}
        for op, layout, d in zip(self.record.operations, plan.layouts, gradients, strict=True):
            for slot, source in op.sources:
                names = [k for k in source.names if k in terms]
                if d is None or not names or (layout is None and not bool(d.any())):
                    continue
                like = self.w[names[0]]
                theta = source.tensor.detach().to(like.dtype)
                found = None if layout is None else term(op, slot, theta, d, layout)
                if found is None:
                    if lost is not None:
                        lost |= set(names)
                    return None
                for k in names:
                    terms[k].append((found, source))
        return {k: self._put(k, pairs) for k, pairs in terms.items()}

    def _put(self, name: str, pairs: list) -> Gathered:
        """The terms of one parameter, with the way back to it."""
        found, backs, x = [], [], self.w[name]
        for part, source in pairs:
            if source.how == TURNED and isinstance(part, Outer):
                found.append(part.turned())
                backs.append(None)
            else:
                found.append(part)
                backs.append(None if source.how == SAME else _back(source, x))
        if len(found) > 1 and all(isinstance(part, Outer) for part in found) and not any(backs):
            # The sum of two products of matrices is the product of the matrices side by side.
            rows, cols = (torch.cat([getattr(part, side) for part in found], 1) for side in ("rows", "cols"))
            found, backs = [Outer(rows, cols, tuple(x.shape))], [None]
        moved = len(pairs) == 1 and pairs[0][1].how == MOVED
        return Gathered(tuple(found), tuple(backs), tuple(x.shape), len(self.losses), x.detach(), moved)

    def _others(self, plan: Plan) -> Params:
        """The gradients of the parameters served example by example."""
        found = by_vmap(self.function, self.w, list(plan.vmap), self.batch, len(self.losses)) if plan.vmap else {}
        rest = [*plan.loop, *(plan.vmap if found is None else ())]
        return {**(found or {}), **(by_loop(self.losses, self.w, rest) if rest else {})}


def _given(grads: Tensor) -> Gathered:
    return Gathered((Dense(grads),), (None,), tuple(grads.shape[1:]), len(grads), grads.new_zeros(grads.shape[1:]))


def _one(g: Gathered, want: str, total: bool) -> tuple[Tensor, Tensor | None]:
    """What is wanted of one parameter, and the sum of its gradients."""
    if want == NORMS:
        return squares(g, total)
    if want == GRAM:
        return gram(g, total)
    each = g.each(slice(None))
    return each, g.summed(each) if total else None


def _back(source: Source, x: Tensor) -> Callable[[Tensor], Tensor]:
    """From gradients `[b, ...]` with respect to a tensor computed from a parameter to those of the parameter."""

    def back(grads: Tensor) -> Tensor:
        given = grads.reshape(-1, *source.tensor.shape).to(source.tensor.dtype)
        found = torch.autograd.grad(
            source.tensor, x, given, retain_graph=True, is_grads_batched=True, allow_unused=True
        )[0]
        return x.new_zeros(len(grads), *x.shape) if found is None else found.detach()

    return back


def _telling(x: Tensor) -> bool:
    """Whether a use that was overlooked would have been noticed."""
    return bool(x.any()) and bool(torch.isfinite(x).all())


def _agree(a: Tensor, b: Tensor, largest: float, close: float) -> bool:
    """Whether two gradients are the same, up to rounding; what cancels to nothing is measured by the `largest`.

    True where it cannot be told: a single example that is not finite spoils the gradient that autograd sums up.
    """
    if not bool(torch.isfinite(b).all()):
        return True
    return float((a - b).norm()) <= close * float(b.norm()) + 0.01 * close * largest
