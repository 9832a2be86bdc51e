"""Ways to differentiate a loss at a point: those the package uses, and those it could have used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, jacrev, jvp

from adamantine.derivatives import DIFFERENCE
from adamantine.per_example.fallback import by_vmap
from adamantine.point import Point
from adamantine.tree import Params, dot

Found = Mapping[str, Tensor] | Tensor
Way = Callable[[Point, Params], Found]


@dataclass(frozen=True)
class Mode:
    """A way to differentiate at a point, in a direction, and the same from primitives, by reverse mode.

    `oracles` are the questions to a `Point`, as its `cost` counts them, that are answered so, or would be if it were
    not for its errors; `own` says which of the two. `tolerance` is relative. Where `coupled` is False it is meaningless
    for a kernel that couples the examples.
    """

    name: str
    oracles: tuple[str, ...]
    way: Way
    truth: Way
    own: bool = False
    coupled: bool = True
    tolerance: float = 1e-8


def reverse(p: Point, v: Params, order: int) -> Params:
    """Derivative of order `order` of the mean loss, all places but one taken by `v`: reverse mode over itself."""
    w = {k: x.detach().requires_grad_() for k, x in p.w.items()}
    with torch.enable_grad():
        f, found = p.task.losses(w, p.batch).mean(), {}
        for _ in range(order):
            slopes = torch.autograd.grad(
                f, list(w.values()), create_graph=True, allow_unused=True, materialize_grads=True
            )
            found = dict(zip(w, slopes, strict=True))
            f = dot(found, v)
    return {k: x.detach() for k, x in found.items()}


def rows(y: Tensor, w: Params) -> Params:
    """Gradients of each number of the vector `y`, `[N, ...]`, one backward pass each."""
    held = [
        torch.autograd.grad(x, list(w.values()), retain_graph=True, allow_unused=True, materialize_grads=True)
        for x in y
    ]
    return {k: torch.stack(x) for k, x in zip(w, zip(*held, strict=True), strict=True)}


def gauss_newton(p: Point, v: Params) -> Params:
    """`J' H_l J v`, from the rows of `J` and of `H_l`."""
    w = {k: x.detach().requires_grad_() for k, x in p.w.items()}
    with torch.enable_grad():
        outputs, losses = p.task.outputs_and_losses(w, p.batch)  # pyright: ignore[reportAttributeAccessIssue]
        j = rows(outputs.reshape(-1), w)
        (slope,) = torch.autograd.grad(losses.mean(), outputs, create_graph=True)
        h = rows(slope.reshape(-1), {"y": outputs})["y"].flatten(1)
    t = h @ _pushed(j, v)
    return {k: torch.tensordot(t, x, 1) for k, x in j.items()}


def each(p: Point, _: Params) -> Params:
    """The gradient of every example, one backward pass each."""
    w = {k: x.detach().requires_grad_() for k, x in p.w.items()}
    with torch.enable_grad():
        return rows(p.task.losses(w, p.batch), w)


def _mean(p: Point) -> Callable[[Params], Tensor]:
    return lambda w: p.task.losses(w, p.batch).mean()


def _along(f: Callable[[Params], Any], v: Params) -> Callable[[Params], Any]:
    return lambda w: jvp(f, (w,), (v,))[1]


def _pushed(j: Params, v: Params) -> Tensor:
    return torch.stack([x.flatten(1) @ v[k].reshape(-1) for k, x in j.items()]).sum(0)


def _vmapped(p: Point, _: Params) -> Params:
    found = by_vmap(p.task.losses, p.w, list(p.w), p.batch, len(p.batch[0]))
    if found is None:
        raise NotImplementedError("vmap")
    return found


SINGLE = ("each_grad", "each_norm", "each_gram")
MODES = (
    Mode("gradient", ("grad",), lambda p, v: p.grad, partial(reverse, order=1), own=True),
    Mode("H v, reverse over reverse", ("hvp",), lambda p, v: p.hvp(v), partial(reverse, order=2), own=True),
    Mode(
        "H v, central difference",
        ("hvp",),
        lambda p, v: replace(p, hvp_by=DIFFERENCE).hvp(v),
        partial(reverse, order=2),
        own=True,
        tolerance=1e-5,
    ),
    Mode("J'HJ v, reverse twice", ("ggn",), lambda p, v: p.ggn_vp(v), gauss_newton, own=True),
    Mode("g_i v, reverse twice", ("each_dot",), lambda p, v: p.each_dot(v), lambda p, v: _pushed(each(p, v), v), True),
    Mode("g_i, one backward pass", SINGLE[:1], lambda p, v: p.each_grad(), each, True, False),
    Mode(
        "|g_i|, one backward pass",
        SINGLE[1:2],
        lambda p, v: p.each_grad_norm(),
        lambda p, v: {k: x.flatten(1).norm(dim=1) for k, x in each(p, v).items()},
        own=True,
        coupled=False,
    ),
    Mode(
        "g_i g_j, one backward pass",
        SINGLE[2:],
        lambda p, v: p.each_gram(),
        lambda p, v: torch.stack([x.flatten(1) @ x.flatten(1).T for x in each(p, v).values()]).sum(0),
        own=True,
        coupled=False,
    ),
    Mode("g_i, vmap(grad)", SINGLE, _vmapped, each, True, False),
    Mode("H v, jvp(grad)", ("hvp",), lambda p, v: _along(grad(_mean(p)), v)(p.w), partial(reverse, order=2)),
    Mode("H v, jvp(jacrev)", ("hvp",), lambda p, v: _along(jacrev(_mean(p)), v)(p.w), partial(reverse, order=2)),
    Mode("H v, grad(jvp)", ("hvp",), lambda p, v: grad(_along(_mean(p), v))(p.w), partial(reverse, order=2)),
    Mode(
        "v'H v, jvp(jvp)",
        ("hvp",),
        lambda p, v: _along(_along(_mean(p), v), v)(p.w),
        lambda p, v: dot(reverse(p, v, 2), v),
    ),
    Mode("third, reverse thrice", (), partial(reverse, order=3), partial(reverse, order=3)),
    Mode(
        "third, jvp(jvp(grad))",
        (),
        lambda p, v: _along(_along(grad(_mean(p)), v), v)(p.w),
        partial(reverse, order=3),
    ),
)
