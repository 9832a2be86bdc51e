"""What the optimizers of `torch.optim` (2.13) say through their states: their answer to a gradient, and their averages.

A reader gets the state of one tensor after a step, the options of its group, the weight before the step and the
gradient of the step. It knows one exact class: a subclass may take another step.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, optim

from adamantine.live import FIRST, SECOND, Moment
from adamantine.response import Number, Response, averaged
from adamantine.tree import Params

Memory = Mapping[str, Any]
Reader = Callable[[Memory, Memory, Tensor, Tensor], tuple[Number, float]]


def answer(kind: type, groups: Mapping[str, Memory], states: Mapping[str, Memory], w: Params, g: Params) -> Any:
    """The `Response` of an optimizer of class `kind`; None where no reading of it is known, or none is linear.

    `groups` and `states` by tensor: the options and what is kept. A tensor that was never stepped has a scale of 0.
    The step itself is not known from the state, and said to be NaN.
    """
    scale: dict[str, Number] = {}
    flip: dict[str, Number] = {}
    pull: dict[str, Number] = {}
    for k, x in w.items():
        if kind not in READERS or groups[k].get("maximize"):
            return None
        if not states.get(k) and kind is not optim.SGD:
            scale[k], flip[k], pull[k] = 0.0, 1.0, 0.0
            continue
        group, s = groups[k], states.get(k, {})
        scale[k], flip[k] = READERS[kind](s, group, x, g[k])
        rate, decay = float(group["lr"]), group["weight_decay"]
        apart = group.get("decoupled_weight_decay") or kind is optim.Adafactor
        pull[k] = rate * decay if apart else scale[k] * flip[k] * decay
        if kind is optim.ASGD:
            pull[k] += float(s["eta"]) * group["lambd"]
    return Response(scale, flip, pull, out={k: torch.full_like(x, torch.nan) for k, x in w.items()})


def moments(groups: Mapping[str, Memory], states: Mapping[str, Memory]) -> tuple[Moment, ...]:
    """The averages that the states hold under their usual names, without the bias from the start at zero.

    `exp_avg` and `exp_avg_sq` with the group's `betas` (without them, or without a count of steps, as they are),
    `square_avg` with the group's `alpha`; `momentum_buffer`, a sum with the group's `momentum`, where nothing scales
    the gradient before it.
    """
    found: dict[tuple[str, int], Params] = {}
    for k, s in states.items():
        group, t = groups[k], int(s.get("step") or 0)
        betas = group.get("betas") or ()
        for name, kind, i in (("exp_avg", FIRST, 0), ("exp_avg_sq", SECOND, 1)):
            if isinstance(s.get(name), Tensor) and s[name].is_floating_point():
                held = 1 - float(betas[i]) ** t if len(betas) > i and t else 1.0
                found.setdefault((kind, t), {})[k] = s[name] / held
        if isinstance(s.get("momentum_buffer"), Tensor) and "square_avg" not in s:
            beta, damping = group.get("momentum", 0.0), group.get("dampening", 0.0)
            found.setdefault((FIRST, 0), {})[k] = s["momentum_buffer"] * ((1 - beta) / (1 - damping or 1.0))
        if isinstance(s.get("square_avg"), Tensor):
            held = 1 - float(group["alpha"]) ** t if t and "alpha" in group else 1.0
            found.setdefault((SECOND, t), {})[k] = s["square_avg"] / held
    return tuple(Moment(kind, value, t) for (kind, t), value in found.items())


def _sgd(s: Memory, group: Memory, w: Tensor, g: Tensor) -> tuple[Number, float]:
    beta = group["momentum"]
    flip = (1 - group["dampening"]) / (1 + beta) if beta else 1.0
    return float(group["lr"]), 1 + beta * flip if group["nesterov"] else flip


def _adam(s: Memory, group: Memory, w: Tensor, g: Tensor) -> tuple[Number, float]:
    t, (beta1, beta2) = float(s["step"]), map(float, group["betas"])
    v = s["max_exp_avg_sq"] if group["amsgrad"] else s["exp_avg_sq"]
    under = (v / (1 - beta2**t)).sqrt() + group["eps"]
    return float(group["lr"]) / (1 - beta1**t) / under, averaged(beta1)


def _nadam(s: Memory, group: Memory, w: Tensor, g: Tensor) -> tuple[Number, float]:
    t, (beta1, beta2) = float(s["step"]), map(float, group["betas"])
    now, ahead = (beta1 * (1 - 0.5 * 0.96 ** (i * group["momentum_decay"])) for i in (t, t + 1))
    product = float(s["mu_product"])
    near, far = (1 - now) / (1 - product), ahead / (1 - product * ahead)
    under = (s["exp_avg_sq"] / (1 - beta2**t)).sqrt() + group["eps"]
    return float(group["lr"]) / under, near + far * averaged(beta1)


def _radam(s: Memory, group: Memory, w: Tensor, g: Tensor) -> tuple[Number, float]:
    t, (beta1, beta2) = float(s["step"]), map(float, group["betas"])
    size = float(group["lr"]) / (1 - beta1**t)
    most = 2 / (1 - beta2) - 1
    now = most - 2 * t * beta2**t / (1 - beta2**t)
    if now <= 5:  # too few steps for a second moment: momentum alone
        return size, averaged(beta1)
    factor = ((now - 4) * (now - 2) * most / ((most - 4) * (most - 2) * now)) ** 0.5
    return size * factor * (1 - beta2**t) ** 0.5 / (s["exp_avg_sq"].sqrt() + group["eps"]), averaged(beta1)


def _rmsprop(s: Memory, group: Memory, w: Tensor, g: Tensor) -> tuple[Number, float]:
    v = s["square_avg"] - s["grad_avg"].square() if group["centered"] else s["square_avg"]
    return float(group["lr"]) / (v.sqrt() + group["eps"]), 1 / (1 + group["momentum"])


def _adagrad(s: Memory, group: Memory, w: Tensor, g: Tensor) -> tuple[Number, float]:
    rate = float(group["lr"]) / (1 + (float(s["step"]) - 1) * group["lr_decay"])
    return rate / (s["sum"].sqrt() + group["eps"]), 1.0


def _adamax(s: Memory, group: Memory, w: Tensor, g: Tensor) -> tuple[Number, float]:
    beta1 = float(group["betas"][0])
    return float(group["lr"]) / (1 - beta1 ** float(s["step"])) / s["exp_inf"], averaged(beta1)


def _asgd(s: Memory, group: Memory, w: Tensor, g: Tensor) -> tuple[Number, float]:
    return float(s["eta"]), 1.0  # the rate of the next step, which is what the state keeps


def _adafactor(s: Memory, group: Memory, w: Tensor, g: Tensor) -> tuple[Number, float]:
    least, floor = group["eps"]
    least = torch.finfo(w.dtype).eps if least is None else least
    if w.ndim > 1:
        rows = s["row_var"]
        v = rows @ s["col_var"] / rows.mean(-2, keepdim=True).clamp_min(least)
    else:
        v = s["variance"]
    scale = v.clamp_min(least**2).rsqrt()
    clipped = ((scale * g).square().mean().sqrt() / group["d"]).clamp_min(1.0)
    size = w.square().mean().sqrt().clamp_min(floor) * min(float(group["lr"]), float(s["step"]) ** -0.5)
    return scale * size / clipped, 1.0


READERS: dict[type, Reader] = {
    optim.SGD: _sgd,
    optim.Adam: _adam,
    optim.AdamW: _adam,
    optim.NAdam: _nadam,
    optim.RAdam: _radam,
    optim.RMSprop: _rmsprop,
    optim.Adagrad: _adagrad,
    optim.Adamax: _adamax,
    optim.ASGD: _asgd,
    optim.Adafactor: _adafactor,
}
