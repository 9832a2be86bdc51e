"""What is measured of a task while it is trained: raw numbers at renewals, from which `Profile` takes ratios.

At each renewal the gradient of the new objective and that of the one before are taken at the same weights, on examples
held out of training, each in two halves of examples that are drawn independently. Products of different halves have no
noise in them: `g1 . g2` estimates `|G|^2` without bias, and `(g1' - g1) . (g2' - g2)` the squared shift.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamantine import tree
from adamantine.live import FIRST
from adamantine.optim.predictions import distributions, divergence
from adamantine.pieces import pieces
from adamantine.point import Batch, Point
from adamantine.tree import Params

SRANK = 0.99
DORMANT = 0.025
KEY = "profile"


def groups(names: Any) -> dict[str, list[str]]:
    """Actor and critic apart, where tensors are so named; else "all"."""
    found = {g: [k for k in names if k.startswith(f"{g}.")] for g in ("actor", "critic")}
    found = {g: members for g, members in found.items() if members}
    return found if sum(map(len, found.values())) == len(list(names)) else {"all": list(names)}


@dataclass(frozen=True)
class Observer:
    """Rows `group/name` for a point; measured where the run's `every` is the task's period, it sees every renewal.

    `signal`, `noise` (trace of the covariance of one example's gradient), `before`, `cross`, `drift`: squares and
    products of the gradients of the new objective and the one before. `fresh` and `stale`: squared gradient of the
    present batch, and of the first batch of the objective before, trained on since. `momentum_dot` and
    `momentum_square` of the first moment with the held-out gradient. `norm`: weights over those at the first
    measurement. `dormant` (share of hidden units whose mean activation is below 0.025 of their layer's) and `rank`
    (singular values that make up 99 % of the sum, over the width). Of all together: `kl_step` and `churn` of this step,
    `kl_renewal` since the objective before, `shift` of the inputs' mean in standard deviations, squared, between
    both held-out batches, `rewarded` and `varied`, the shares of rewards
    that are not 0 and that differ from the most frequent one, `error_fraction`, how
    much of the errors the step removes. What a task does not tell is left out. It draws nothing and changes nothing.
    """

    def __call__(self, p: Point) -> dict[str, float]:
        """The rows."""
        held = p.notes.setdefault(KEY, {"first": {g: _norm(p.w, m) for g, m in groups(p.w).items()}})
        rows: dict[str, float] = {}
        now = p.held_out if p.held_out is not None else p.batch
        last = held.get("batch") if held.get("renewals") != p.renewals else None
        new, old = _halves(p, now), None if last is None else _halves(p, last)
        stale = p.on(held["trained"]).grad if last is not None else None
        momentum = _momentum(p)
        n = _size(now)
        for g, members in groups(p.w).items():
            a, b = ({k: x[k] for k in members} for x in new)
            found = {"signal": _dot(a, b), "noise": n / 4 * _square(tree.add(a, b, -1.0))}
            if old is not None:
                c, d = ({k: x[k] for k in members} for x in old)
                found["before"] = _dot(c, d)
                found["cross"] = (_dot(a, d) + _dot(b, c)) / 2
                found["drift"] = _dot(tree.add(a, c, -1.0), tree.add(b, d, -1.0))
            if stale is not None:
                found["fresh"] = _square({k: p.grad[k] for k in members})
                found["stale"] = _square({k: stale[k] for k in members})
            if momentum is not None and all(k in momentum for k in members):
                m = {k: momentum[k] for k in members}
                found["momentum_dot"] = _dot(m, tree.each(lambda x, y: (x + y) / 2, a, b))
                found["momentum_square"] = _square(m)
            found["norm"] = _norm(p.w, members) / max(held["first"][g], 1e-12)
            rows |= {f"{g}/{name}": x for name, x in found.items()}
        rows |= _activity(p, now) | _motion(p, now, held, last) | _rewards(now)
        if last is not None:
            rows |= _shift(last, now)
        held |= {"batch": now, "trained": p.batch, "renewals": p.renewals, "w": p.w}
        return rows


def _halves(p: Point, batch: Batch) -> tuple[Params, Params]:
    """Gradients of every other example: where copies of a world alternate, each half has copies of its own."""
    return p.on(_part(batch, 0)).grad, p.on(_part(batch, 1)).grad


def _part(batch: Batch, start: int) -> Batch:
    return {k: x[start::2] for k, x in batch.items()} if isinstance(batch, dict) else tuple(x[start::2] for x in batch)


def _size(batch: Batch) -> int:
    return len(next(iter(batch.values())) if isinstance(batch, dict) else batch[0])


def _momentum(p: Point) -> Params | None:
    if p.optimizer is None:
        return None
    found = [m.value for m in p.optimizer.moments(p.s, p.w) if m.kind == FIRST and not m.bases and not m.units]
    return {k: x for m in found for k, x in m.items()} or None


def _activity(p: Point, batch: Batch) -> dict[str, float]:
    if not hasattr(p.task, "activations"):
        return {}
    layers = p.task.activations(p.w, batch)  # pyright: ignore[reportAttributeAccessIssue]
    found: dict[str, float] = {}
    for g in groups(p.w):
        own = [x for (maker, _), x in layers.items() if g == "all" or maker.startswith(f"{g}.")]
        if not own:
            continue
        silent = [(x.abs().mean(0) <= DORMANT * x.abs().mean()).double().mean() for x in own]
        found[f"{g}/dormant"] = float(sum(silent) / len(silent))
        spectra = [torch.linalg.svdvals(x.double()).cumsum(0) for x in own]
        ranks = [(1 + int((s < SRANK * s[-1]).sum())) / x.shape[1] for s, x in zip(spectra, own, strict=True)]
        found[f"{g}/rank"] = sum(ranks) / len(ranks)
    return found


def _motion(p: Point, batch: Batch, held: dict[str, Any], last: Batch | None) -> dict[str, float]:
    found: dict[str, float] = {}
    with torch.no_grad():
        if p.u is not None and hasattr(p.task, "distribution"):
            at = p.on(batch)
            here, there = distributions(at, p.w), distributions(at, tree.add(p.w, p.u, -1.0))
            found["kl_step"] = float(divergence(here, there))
            if all(hasattr(d, "logits") for d in (*here, *there)):
                best = [torch.cat([d.logits.argmax(-1) for d in ds]) for ds in (here, there)]  # pyright: ignore
                found["churn"] = float((best[0] != best[1]).double().mean())
            if last is not None:
                found["kl_renewal"] = float(divergence(distributions(at, held["w"]), here))
        if p.u is not None and hasattr(p.task, "errors") and hasattr(p.task, "values"):
            moved, errors = [], []
            for b in pieces(p.batch):
                moved.append(p.task.values(tree.add(p.w, p.u, -1.0), b) - p.task.values(p.w, b))  # pyright: ignore
                errors.append(p.task.errors(p.w, b))  # pyright: ignore[reportAttributeAccessIssue]
            e = torch.cat(errors)
            found["error_fraction"] = float((torch.cat(moved) * e).mean() / e.square().mean().clamp_min(1e-30))
    return found


def _shift(before: Batch, now: Batch) -> dict[str, float]:
    """Squared distance of the inputs' means in standard deviations of the first, by products of halves, a dimension."""
    name = next((k for k in ("observation", "x") if isinstance(now, dict) and k in now), None)
    if name is None:
        return {}
    a, b = (x[name].flatten(1).double() for x in (before, now))
    scale = a.var(0).clamp_min(1e-12)
    first, second = (b[i::2].mean(0) - a[i::2].mean(0) for i in (0, 1))
    return {"shift": float((first * second / scale).mean())}


def _rewards(batch: Batch) -> dict[str, float]:
    if not isinstance(batch, dict) or "reward" not in batch:
        return {}
    r = batch["reward"].double().cpu().numpy().reshape(-1)
    _, counts = np.unique(r, return_counts=True)
    return {"varied": 1.0 - float(counts.max() / len(r)), "rewarded": float(np.mean(r != 0))}


def _dot(a: Params, b: Params) -> float:
    return float(sum(_double(x) @ _double(b[k]) for k, x in a.items()))


def _double(x: Tensor) -> Tensor:
    return x.reshape(-1).double()


def _square(a: Params) -> float:
    return _dot(a, a)


def _norm(w: Params, members: list[str]) -> float:
    return _square({k: w[k] for k in members}) ** 0.5
