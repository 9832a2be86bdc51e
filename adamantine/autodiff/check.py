"""Every mode through every kernel, and what that means for the instruments."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from adamantine.autodiff.kernels import OPS, Kernel, Network, Op
from adamantine.autodiff.modes import MODES, Found, Mode
from adamantine.derivatives import KEPT
from adamantine.point import Point, stream
from adamantine.tree import Params, flat, place


@dataclass(frozen=True)
class Answer:
    """What came of a mode through a kernel: its relative error, or why it refused, or neither where meaningless."""

    op: str
    mode: Mode
    error: float | None = None
    refusal: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it gave numbers, and these are not the derivative; so are numbers that are not finite."""
        return self.error is not None and not self.error <= self.mode.tolerance


def check(device: str = "cpu", ops: Sequence[Op] = OPS, modes: Sequence[Mode] = MODES) -> list[Answer]:
    """Every mode through every kernel, in float64 on `device`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch compiles rules of forward mode with torch.jit
        return [_answer(op, mode, device) for mode in modes for op in ops]


def _answer(op: Op, mode: Mode, device: str) -> Answer:
    if not (op.splits or mode.coupled):
        return Answer(op.name, mode)
    truth = _vector(mode.truth(*_place(op.primitive, op.splits, device)))
    try:
        found = _vector(mode.way(*_place(op.native, op.splits, device)))
    except (RuntimeError, NotImplementedError) as error:
        return Answer(op.name, mode, refusal=str(error).partition("\n")[0])
    return Answer(op.name, mode, float((found - truth).norm() / truth.norm()))


def _place(kernel: Kernel, splits: bool, device: str) -> tuple[Point, Params]:
    """A point that nobody has asked anything, and a direction."""
    task = Network(kernel, splits)
    w, v = (place(task.init(stream(0, name)), device) for name in ("weights", "direction"))
    batch = place(task.source(stream(0, "batch"))(w), device)
    return Point(task, w, batch, hvp_by=KEPT), v


def _vector(found: Found) -> Tensor:
    """In one vector, keys sorted."""
    return found.reshape(-1) if isinstance(found, Tensor) else flat({k: found[k] for k in sorted(found)})


def told(answers: Sequence[Answer], instruments: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each mode that is wrong, and a last one on the package's own.

    `instruments` are the names of those that ask for each oracle.
    """
    out = []
    for mode in dict.fromkeys(a.mode for a in answers):
        bad = [f"{a.op} (relative error {a.error:.2g})" for a in answers if a.mode == mode and a.wrong]
        if not bad:
            continue
        names = sorted({x for oracle in mode.oracles for x in instruments.get(oracle, ())})
        users = ", ".join(names) or "no instrument"
        what = f"{mode.name} is silently wrong through {', '.join(bad)}"
        if mode.own:
            out.append(f"{what}: with such layers, wrong on this machine are {users}, and optimizers that ask for it.")
        elif mode.oracles:
            out.append(f"{what}: it would make {users} wrong, if they used it; they do not.")
        else:
            out.append(f"{what}: no instrument takes third derivatives.")
    refused = [a for a in answers if a.mode.own and a.refusal]
    if refused:
        which = ", ".join(dict.fromkeys(f"{a.mode.name} through {a.op}" for a in refused))
        out.append(f"Refused, which gives no wrong number, and none at all where nothing stands in: {which}.")
    if not failed(answers):
        out.append("Every mode that the instruments use is right on this machine, wherever it answers.")
    return out


def failed(answers: Sequence[Answer]) -> bool:
    """Whether a mode that instruments use is wrong."""
    return any(a.mode.own and a.wrong for a in answers)
