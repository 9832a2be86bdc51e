"""One step of any composition with the weights changed in place: fused where parts can be, as defined elsewhere.

Neighbouring parts that have C text run as one pass. Where it takes more than one pass, local compositions go
in batches of tensors, so that a direction never takes more memory than the largest tensor.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from adamantine import one_pass
from adamantine.kernel import Fused
from adamantine.named_state import keyed, only
from adamantine.part import Chain, Part, State
from adamantine.point import Point
from adamantine.route import Route
from adamantine.tree import Params
from adamantine.until import Until, switched

Pass = tuple[list[Fused] | None, list[tuple[Part, State]]]  # the texts, and the parts they stand for


@torch.no_grad()
def step(part: Part, w: Params, s: State, p: Point) -> State:
    """Subtract the update of `part` from `w` and give the new state; dicts and tensors of `s` are changed in place.

    `p.w` holds the tensors of `w` and `p.grad` their gradients; both may hold others besides, which only parts that
    are not local look at. The result is that of `update` up to rounding.
    """
    if not w:
        return s
    if isinstance(part, Route):
        yes, no = part.halves(w, w)
        return step(part.yes, yes, s[0], p), step(part.no, no, s[1], p)
    inside = part.within(w, p)
    if inside is not None:
        inner, w, p = inside
        return step(inner, w, s, p)
    if isinstance(part, Until):
        stage, inner = switched(part, s, w, p)
        return stage, step(part.part_in_charge(stage), w, inner, p)
    parts, states = (part.parts, s) if isinstance(part, Chain) else ((part,), (s,))
    # A switch is made for all tensors at once: batches of them can then put their states in place.
    states = tuple(switched(x, sx, w, p) for x, sx in zip(parts, states, strict=True))
    p = _seen(w, p) if len(p.w) > len(w) else p
    runs = _runs(parts, states, p)
    batches = [w] if not part.local or _one(runs) else _batches(parts, w, states, p)
    if len(batches) == 1:
        new = _through(runs, w, p)
    else:
        new = states
        for batch in batches:
            q = _seen(batch, p)
            after = _through(_runs(parts, only(states, batch, w, copies=False), q), batch, q)
            new = _merged(states, new, after, w)
    return new if isinstance(part, Chain) else new[0]


def _one(runs: Sequence[Pass]) -> bool:
    """Whether it is one pass, which needs no memory for a direction."""
    return len(runs) == 1 and runs[0][0] is not None


def _batches(parts: tuple[Part, ...], w: Params, states: tuple[State, ...], p: Point) -> list[Params]:
    """The tensors by kind; kinds that one pass does not step, in groups no larger than the largest tensor."""
    kinds: dict[Any, Params] = {}
    for k, x in w.items():
        kinds.setdefault(tuple(part.kind(x) for part in parts), {})[k] = x
    most = max(x.numel() for x in w.values())
    out: list[Params] = []
    for same in kinds.values():
        if len(kinds) > 1 and _one(_runs(parts, only(states, same, w, copies=False), _seen(same, p))):
            out.append(same)
            continue
        room = -1
        for k, x in same.items():
            if x.numel() > room:
                out.append({})
                room = most
            out[-1][k] = x
            room -= x.numel()
    return out


def _runs(parts: tuple[Part, ...], states: tuple[State, ...], p: Point) -> list[Pass]:
    """Neighbours that make one pass, with their texts; parts without one stand alone."""
    out: list[Pass] = []
    for x, sx in zip(parts, states, strict=True):
        f = x.fused(sx, p)
        last = out[-1][0] if out else None
        if f is not None and last is not None and one_pass.fits([y.code for y in last], f.code):
            last.append(f)
            out[-1][1].append((x, sx))
        else:
            out.append((None if f is None else [f], [(x, sx)]))
    return out


def _seen(w: Params, p: Point) -> Point:
    return replace(p.given({k: p.grad[k] for k in w}, w), u=None, s=None)


def _through(runs: Sequence[Pass], w: Params, p: Point) -> tuple[State, ...]:
    """Pass the gradient through the parts and subtract what comes out."""
    g = p.grad
    u, new = g, []
    plain = all(one_pass.plain(x) and one_pass.plain(g[k]) and g[k].dtype == x.dtype for k, x in w.items())
    for i, (texts, run) in enumerate(runs):
        if texts is not None and plain:
            last = i == len(runs) - 1
            out = w if last else {k: torch.empty_like(x) for k, x in w.items()}
            if u is not g:
                u = {k: x if x.stride() == w[k].stride() else torch.empty_like(w[k]).copy_(x) for k, x in u.items()}
            if one_pass.run(texts, w, u, g, out):
                new += [f.state for f in texts]
                u = out
                if last:
                    return tuple(new)
                continue
        for x, sx in run:
            u, after = x.update(u, sx, p)
            new.append(after)
    for k, x in w.items():
        x.sub_(u[k])
    return tuple(new)


def _merged(before: Any, now: Any, after: Any, w: Params) -> Any:
    """`now` with the new state of some tensors put in its place.

    All tensors start from the same state `before`, so that a number which a batch changed is what it becomes.
    """
    if isinstance(now, dict):
        if keyed(now, w):
            now.update(after)
            return now
        return {k: _merged(before[k], x, after[k], w) for k, x in now.items()}
    if isinstance(now, (tuple, list)):
        return type(now)(_merged(*three, w) for three in zip(before, now, after, strict=True))
    return now if isinstance(after, (bool, int, float, str)) and after == before else after
