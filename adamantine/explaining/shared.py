"""Constants of many optimizers at one place: what tells bases and updates apart from where they lead."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from adamantine import tree
from adamantine.explaining.own_basis import bases_of, told, turned
from adamantine.part import Part
from adamantine.pieces import Pieces
from adamantine.point import Point
from adamantine.role import asks, bind
from adamantine.run import Probe
from adamantine.symmetry import holds


@dataclass(frozen=True)
class Shared:
    """Every one of `measures` for each of the optimizers `arms`, at the same weights and batches.

    An optimizer's state starts anew and sees `warm` batches of its own at these weights, which stand still, so that
    update and moments are those it would settle at here; the constants come from `pieces` further batches, in the
    coordinates of its moments, and random probes are the same for all. `Measure/arm` is the first number that a measure
    gives, by the name of its class; what needs no update, and is by its symmetry the same in an arm's coordinates as in
    the given ones, is measured once and told for all such arms, which are then exactly equal. `cosine/arm` and
    `agreement/arm` are those of update and gradient, and of their signs in the optimizer's coordinates: what any
    assumption has to beat. A measure that cannot be told here (the loss does not split by example, there is no matrix)
    is NaN.
    """

    arms: tuple[tuple[str, Part], ...]
    measures: tuple[Probe, ...]
    warm: int = 20
    pieces: int = 1

    def __call__(self, p: Point) -> dict[str, float]:
        """`Measure/arm` for all."""
        steps = [p.fresh(f"shared warm/{i}") for i in range(self.warm)]
        batches = tuple(p.fresh(f"shared/{i}").batch for i in range(self.pieces))
        here = p.on(Pieces(batches))
        bare = here.after(None, None)  # pyright: ignore[reportArgumentType]
        given = {m: _value(m, here, bare, ()) for m in self.measures}  # NaN where an update is needed
        out: dict[str, float] = {}
        for name, part in self.arms:
            settled, bases = _settled(part, steps, here)
            q = turned(settled, bases)
            for measure in self.measures:
                same = not math.isnan(given[measure]) and all(_keeps(b, measure) for b in bases)
                value = given[measure] if same else _value(measure, settled, q, bases)
                out[f"{type(measure).__name__}/{name}"] = value
            out[f"cosine/{name}"] = _cosine(q.grad, q.u or {})
            out[f"agreement/{name}"] = _cosine(tree.each(torch.sign, q.grad), tree.each(torch.sign, q.u or {}))
        return out


def _keeps(basis: Any, measure: Any) -> bool:
    """Whether the measure is by its symmetry the same in this basis: a basis belongs to every group it normalizes."""
    return bool(basis.normalizes & holds(getattr(measure, "symmetry", "none")))


def _value(measure: Any, p: Point, q: Point, bases: tuple[Any, ...]) -> float:
    """At `q`, which is `p` in these bases."""
    return _of_examples(measure, p, q, bases) if "each_grad" in getattr(measure, "cost", {}) else told(measure, q)


def _settled(part: Part, steps: list[Point], here: Point) -> tuple[Point, tuple[Any, ...]]:
    """`here` with the update that the part settles at, and the bases of its moments."""
    part = bind(part, here.task.tags()) if asks(part) else part  # pyright: ignore[reportAttributeAccessIssue]
    s, u = part.init(here.w), here.grad
    for x in steps:
        u, s = part.update(x.grad, s, x)
    p = here.after(u, s, part)
    return p, bases_of(p)


def _of_examples(measure: Any, p: Point, q: Point, bases: tuple[Any, ...]) -> float:
    """From the gradients of the examples at `p`, each turned: far cheaper than gradients in turned coordinates."""
    if "each gradient" not in p.memo:
        try:
            p.memo["each gradient"] = p.each_grad()
        except ValueError:  # it does not split by example
            return math.nan
    rows = []
    for i in range(len(next(iter(p.memo["each gradient"].values())))):
        g = {k: x[i] for k, x in p.memo["each gradient"].items()}
        for basis in bases:
            g = basis.forth(g)
        rows.append(tree.flat(g))
    return next(iter(measure.on_examples(q, torch.stack(rows)).values()))


def _cosine(a: tree.Params, b: tree.Params) -> float:
    lengths = float(tree.norm(a)) * float(tree.norm(b))
    return float(tree.dot(a, b)) / lengths if lengths else math.nan
