"""What can be found out about the user's loss: at the first measurement, and at every one."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from adamantine import tree
from adamantine.derivatives import DIFFERENCE
from adamantine.pieces import pieces
from adamantine.point import HVP_BY, Point
from adamantine.watching.task import WatchedTask

ALIKE, ROUNDING, STRANGE = 1e-3, 1e-6, 0.95


def examined(p: Point, task: WatchedTask, grads: dict[str, Tensor | None]) -> Iterator[str]:
    """Sentences about a loss that does not repeat itself, that is a sum, or whose gradient is not the one in use.

    The first makes the task refuse every further question. `grads` are the gradients that the optimizer's step began
    from, if they can be told.
    """
    first, again = float(p.loss), float(p.at(p.w).loss)
    if not math.isfinite(first):
        return
    if _apart(first, again):
        task.refusal = (
            f"watch: the loss of one batch at the same weights was {first:.6g} and then {again:.6g}, with all "
            "generators started alike: the model or its hooks change from call to call, and curvature has no meaning."
        )
        yield task.refusal
        return
    batch = pieces(p.batch)[0]
    if task.whole is not None and (ratio := _doubled(p, batch)) and abs(ratio - 2) < 0.2:
        yield "The loss doubled where its batch was doubled: it is a sum over examples, not their mean."
    absent = [k for k, g in grads.items() if g is None]
    if len(absent) < len(grads):
        for k in absent:
            yield f"The parameter {k!r} took no part in the first step: its gradient is taken for zero."
    held = {k: g for k, g in grads.items() if g is not None}
    if held and not _random(p) and (cosine := _cosine(p.grad, held)) is not None and cosine < STRANGE:
        yield (
            f"The gradient of the loss given to watch, on the batch given to it, has a cosine of {cosine:.2f} with the "
            "one that the optimizer stepped on; is it the same loss and batch, and is watch.step called once the "
            "optimizer has stepped?"
        )


def remarks(p: Point, rows: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """What is to be said of this measurement, each with how it begins: it is said once."""
    if not math.isfinite(value := rows.get("loss", 0.0)):
        yield f"The loss was {value} at step {p.step}.", "The loss was"
    if p.notes.get(HVP_BY) == DIFFERENCE:
        once = "Hessian products are differences of gradients"
        yield (
            (
                f"{once}, since step {p.step}: a kernel of the model has no second derivative, or memory holds none. "
                "Through ReLU and maxima they count kinks, which the Hessian does not."
            ),
            once,
        )


def _apart(a: float, b: float, alike: float = ALIKE) -> bool:
    return not abs(a - b) <= alike * max(abs(a), abs(b))


def _random(p: Point) -> bool:
    """Whether the loss depends on what its generators start from."""
    other = tuple({**b, "seed": b["seed"] ^ 0x5DEECE66D} for b in pieces(p.batch))
    pairs = zip(pieces(p.batch), other, strict=True)
    return any(_apart(float(p.on(b).loss), float(p.on(c).loss), ROUNDING) for b, c in pairs)


def _doubled(p: Point, batch: dict[str, Any]) -> float | None:
    """The loss of a batch with every example twice, in units of the loss; None where it cannot be had."""
    size = len(batch["seed"])

    def twice(x: Any) -> Any:
        return torch.cat([x, x]) if isinstance(x, Tensor) and x.ndim and len(x) == size else x

    try:
        once = float(p.on(batch).loss)
        return float(p.on(tree_map(twice, batch)).loss) / once if once else None
    except Exception:
        return None


def _cosine(a: tree.Params, b: tree.Params) -> float | None:
    a, b = {k: a[k].float() for k in b}, {k: x.float() for k, x in b.items()}
    size = float(tree.norm(a)) * float(tree.norm(b))
    return float(tree.dot(a, b)) / size if size and math.isfinite(size) else None
