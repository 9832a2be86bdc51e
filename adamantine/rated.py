"""A composition at another rate, with the rates in it multiplied; its kind apart from numbers; what it refuses."""

import math
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass, replace
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from adamantine.optim.lr import Lr
from adamantine.part import Chain, Part
from adamantine.point import Point
from adamantine.sharded import seen
from adamantine.tree import Params

# What torch's optimizers read from a group at each step, and programs therefore write there.
DEAF = frozenset({"weight_decay", "decay", "betas", "beta1", "beta2", "momentum", "eps"})


def rates(x: Any) -> list[float]:
    """The size of every `Lr` in the composition, as it reads."""
    if isinstance(x, Lr):
        return [x.size]
    if isinstance(x, tuple):
        return [r for y in x for r in rates(y)]
    return [r for f in fields(x) for r in rates(getattr(x, f.name))] if isinstance(x, Part) else []


def rated(x: Any, base: float, lr: float) -> Any:
    """The composition with every rate times `lr / base`; exactly `lr` where the rate is `base`."""
    if isinstance(x, tuple):
        new = tuple(rated(y, base, lr) for y in x)
        return new if any(a is not b for a, b in zip(x, new, strict=True)) else x
    if not isinstance(x, Part) or lr == base:
        return x
    changed = {}
    for f in fields(x):
        old = getattr(x, f.name)
        own = isinstance(old, (int, float)) and (f.name == "lr" or (f.name == "size" and isinstance(x, Lr)))
        new = _times(old, base, lr) if own else rated(old, base, lr)
        if new is not old:
            changed[f.name] = new
    return replace(x, **changed) if changed else x


def _times(size: float, base: float, lr: float) -> float:
    return lr if size == base else size * (lr / base) if base else size


def structure(x: Any) -> str:
    """The parts and how they are composed, without numbers, schedules and tables: what a state depends on."""
    if isinstance(x, tuple):
        return " >> ".join(filter(None, map(structure, x)))
    if isinstance(x, Chain):
        return structure(x.parts)
    if is_dataclass(x) and not isinstance(x, type):
        held = [(f.name, structure(getattr(x, f.name))) for f in fields(x) if f.name not in ("schedule", "tags")]
        inside = ", ".join(f"{name}={text}" for name, text in held if text)
        return f"{type(x).__name__}({inside})" if inside else type(x).__name__
    if isinstance(x, (str, bool)):
        return repr(x)
    return getattr(x, "__qualname__", "") if callable(x) else ""


def refuse_deaf(group: dict[str, Any]) -> None:
    """ValueError for a hyperparameter that someone has written into a group of a running optimizer."""
    key = min(DEAF & group.keys())
    raise ValueError(
        f"torch_optimizer: group[{key!r}] was set, but of a running optimizer only group['lr'] can be changed; give "
        "it at construction, in groups=[...], or as part of the composition."
    )


def of_training(steps: Any, seed: Any) -> None:
    """ValueError or TypeError for a number of steps of training, or a seed, that is none."""
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 1):
        raise ValueError(
            f"torch_optimizer: steps = {steps!r} must be a whole number of at least 1; give how often step() will be "
            "called."
        )
    if isinstance(seed, bool) or not isinstance(seed, (Integral, str)):
        raise TypeError(f"torch_optimizer: seed = {seed!r} must be a whole number or a string; give one, as in seed=0.")


class Unknown:
    """The number of steps of a training that nobody has told; asking for it is a ValueError.

    Not an `int`: whoever computes with it must hear that it is missing.
    """

    def __mul__(self, other: float) -> float:
        """No steps at all are no steps of any training; else the sentence."""
        if other == 0:
            return 0.0
        raise ValueError(
            "torch_optimizer: this composition depends on how many steps the training has, through a schedule or a "
            "switch; give them, as in torch_optimizer(model, recipe, steps=10_000)."
        )

    __rmul__ = __sub__ = __rsub__ = __add__ = __radd__ = __truediv__ = __rtruediv__ = __mul__
    __int__ = __float__ = __index__ = lambda self: self.__mul__(1)
    __lt__ = __le__ = __gt__ = __ge__ = __floordiv__ = __mul__


def check(part: Part, blank: Params, steps: Any) -> None:
    """Try the composition on tensors without content (meta): what its parts refuse, they refuse here, not in training.

    ValueError or TypeError of a part goes through; that something cannot be computed without content is no error.
    """
    for schedule in _schedules(part):
        for step in (0, *(10**n for n in range(8))):
            _factor(schedule, step, steps)
    for dtype in dict.fromkeys(x.dtype for x in blank.values()):
        owner = _without_eps(part, dtype)
        if owner is not None:
            raise ValueError(
                f"torch_optimizer: the eps = {owner.eps!r} of {type(owner).__name__} is zero in {dtype}, so that a "
                "step may divide by zero; give a larger one, such as 1e-4, or keep the weights in float32 under "
                "torch.autocast."
            )
    try:
        s = part.init(blank)
        few = dict(list(blank.items())[:1])
        p = Point(None, few, None, 0, steps).given(few)  # pyright: ignore[reportArgumentType]
        part.update(few, s if len(blank) == 1 else part.init(few), p)
    except (ValueError, TypeError) as error:
        if _own(error):
            raise
    except Exception:
        return


def _factor(schedule: Callable[..., Any], step: int, steps: Any) -> None:
    try:
        factor = schedule(step, steps)
        if isinstance(factor, Real) and math.isfinite(factor):
            return
        why = f"it gives {factor!r}"
    except (ValueError, TypeError) as error:
        if _own(error):
            raise
        why = f"calling it says: {error}"
    raise TypeError(
        f"torch_optimizer: the schedule {schedule!r} must map (step, steps) to a finite factor, but {why}; give "
        "Cosine(), say, or a function of two numbers."
    )


@torch.no_grad()
def representable(params: Iterable[Tensor], lr: float) -> None:
    """ValueError where the weights are of so few bits that a step of size `lr` is lost in all of them."""
    filled = [w for w in (seen(x, False) for x in params) if w.numel()]
    if filled and all(torch.equal(w - lr, w) and torch.equal(w + lr, w) for w in filled):
        raise ValueError(
            f"torch_optimizer: a step of size lr = {lr!r} is lost to rounding in every weight; give a larger rate, or "
            "parameters of higher precision."
        )


def _without_eps(x: Any, dtype: torch.dtype) -> Any:
    """The first part in `x` whose `eps` is zero in this number format."""
    if isinstance(x, tuple):
        return next((y for y in (_without_eps(z, dtype) for z in x) if y is not None), None)
    if not isinstance(x, Part):
        return None
    eps = getattr(x, "eps", None)
    if isinstance(eps, float) and eps > 0 and not torch.tensor(eps, dtype=dtype):
        return x
    return _without_eps(tuple(getattr(x, f.name) for f in fields(x)), dtype)


def _own(error: Exception) -> bool:
    """Whether a part says it, in a sentence of its own."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return name.split(".")[0] not in ("torch", "numpy") and str(error).endswith(".")


def _schedules(x: Any) -> list[Callable[..., Any]]:
    if isinstance(x, tuple):
        return [s for y in x for s in _schedules(y)]
    if not isinstance(x, Part):
        return []
    own = getattr(x, "schedule", None)
    return ([own] if callable(own) else []) + [s for f in fields(x) for s in _schedules(getattr(x, f.name))]
