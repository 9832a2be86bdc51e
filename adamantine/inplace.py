"""One step of any composition with the weights changed in place: fused where parts can be, as defined elsewhere.

Neighbouring parts that have C text run as one pass. Where a part between them has none, local compositions go
tensor by tensor, so that no more than one tensor's direction is in memory at a time.
"""

from dataclasses import replace
from itertools import groupby
from typing import Any

import torch

from adamantine import one_pass
from adamantine.part import Chain, Part, Route, State
from adamantine.point import Point
from adamantine.tree import Params


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
    parts, states = (part.parts, s) if isinstance(part, Chain) else ((part,), (s,))
    p = _seen(w, p) if len(p.w) > len(w) else p
    if all(x.fused(sx, p) is not None for x, sx in zip(parts, states, strict=True)) or not part.local:
        new = _through(parts, w, states, p)
    else:
        new = states
        for k, x in w.items():
            one = {k: x}
            after = _through(parts, one, _only(states, k, w), _seen(one, p))
            new = _merged(new, after, k, w)
    return new if isinstance(part, Chain) else new[0]


def _seen(w: Params, p: Point) -> Point:
    return replace(p.given({k: p.grad[k] for k in w}, w), u=None, s=None)


def _through(parts: tuple[Part, ...], w: Params, states: tuple[State, ...], p: Point) -> tuple[State, ...]:
    """Pass the gradient through the parts, as few passes as there can be, and subtract what comes out."""
    g = p.grad
    u, new = g, []
    fits = all(one_pass.dense(x) and one_pass.dense(g[k]) and g[k].dtype == x.dtype for k, x in w.items())
    steps = [(x, sx, x.fused(sx, p) if fits else None) for x, sx in zip(parts, states, strict=True)]
    runs = [(fused, list(run)) for fused, run in groupby(steps, lambda x: x[2] is not None)]
    for i, (fused, run) in enumerate(runs):
        last = i == len(runs) - 1
        if fused:
            out = w if last else {k: torch.empty_like(x) for k, x in w.items()}
            texts = [f for *_, f in run if f is not None]
            if one_pass.run(texts, w, u, g, out):
                new += [f.state for f in texts]
                u = out
                if last:
                    return tuple(new)
                continue
        for x, sx, _ in run:
            u, after = x.update(u, sx, p)
            new.append(after)
    for k, x in w.items():
        x.sub_(u[k])
    return tuple(new)


def _only(s: Any, name: str, w: Params) -> Any:
    """The state of one tensor: what dicts that are keyed by parameters hold under its `name`."""
    if isinstance(s, dict):
        if s.keys() <= w.keys():
            return {name: s[name]} if name in s else {}
        return {k: _only(x, name, w) for k, x in s.items()}
    return type(s)(_only(x, name, w) for x in s) if isinstance(s, (tuple, list)) else s


def _merged(s: Any, after: Any, name: str, w: Params) -> Any:
    """`s` with the new state of one tensor put in its place; numbers are those of the tensor stepped last."""
    if isinstance(s, dict):
        if s.keys() <= w.keys():
            s.update(after)
            return s
        return {k: _merged(x, after[k], name, w) for k, x in s.items()}
    if isinstance(s, (tuple, list)):
        return type(s)(_merged(x, y, name, w) for x, y in zip(s, after, strict=True))
    return after
