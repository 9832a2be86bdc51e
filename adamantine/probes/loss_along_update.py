"""The loss along the update, from forward passes alone: whether the step falls short, overshoots or climbs.

The position within the valley is what Cockpit (Schneider, Dangel & Hennig, arXiv:2102.06604) calls alpha; the first
multiple at which the loss is back is the critical step of arXiv:2601.16979.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from adamantine import tree
from adamantine.point import Point
from adamantine.probes.known import update

CLOSE = 0.02  # share of a bracket below which a place says nothing new


@dataclass(frozen=True)
class LossAlongUpdate:
    """The loss at `w - t u` for the update `u`, at 0 and at each `t` of `multiples`, as `loss_along_update/t`.

    `best_multiple` is the multiple of the update that lowers the loss most: below 1, the step goes past the minimum
    (Cockpit's alpha is `1 / best_multiple - 1`); 0 where the loss rises at once, infinite where it falls as far as it
    was followed. `critical_multiple` is the first at which the loss is again what it was: below 1, the step raises the
    loss; for gradient descent at the rate `eta`, `2 / (eta critical_multiple)` is the critical sharpness. Both are
    exact where the loss along the line is a parabola; at most `search` further forward passes bracket and refine them
    elsewhere. NaN for an update of zero.

    The batch is the one that made the update or, with `fresh`, one independent of it. Raises ValueError where the
    point knows no update.
    """

    multiples: tuple[float, ...] = (0.25, 0.5, 1.0, 1.5, 2.0, 4.0)
    search: int = 12
    fresh: bool = False

    def __post_init__(self) -> None:
        """Refuse multiples out of order and a search of nothing."""
        if len(self.multiples) < 2 or [*self.multiples] != sorted({*self.multiples}) or self.multiples[0] <= 0:
            raise ValueError(
                f"LossAlongUpdate: multiples {self.multiples} must be positive and ascending, and at least two; 0 is "
                "always among them."
            )
        if self.search < 1:
            raise ValueError(f"LossAlongUpdate: search = {self.search} must be at least 1 forward pass.")

    @property
    def units(self) -> dict[str, str]:
        """Of every name."""
        return {
            "loss_along_update": "loss at w - t u; loss",
            "best_multiple": "t of the least loss; updates",
            "critical_multiple": "t at which the loss is what it was; updates",
        }

    @property
    def caveat(self) -> str:
        """When it misleads."""
        if self.fresh:
            return "One batch only: its loss along the line is as noisy as its gradient."
        return "On the batch that made the update the loss falls further than the whole loss does: see fresh."

    @property
    def cost(self) -> dict[str, int]:
        """Oracle calls."""
        return {"loss": 1 + len(self.multiples) + self.search}

    def __call__(self, p: Point) -> dict[str, float]:
        """All of `units`."""
        u = update(p, "LossAlongUpdate")
        q = p.fresh("loss along update") if self.fresh else p

        def loss(t: float) -> float:
            return float((q.at(tree.add(q.w, u, -t)) if t else q).loss)

        grid = {t: loss(t) for t in (0.0, *self.multiples)}
        line = _Line(loss, {t: _or_infinite(x) for t, x in grid.items()}, self.search)
        best = critical = math.nan
        if math.isfinite(grid[0.0]) and float(tree.norm(u)):
            best = line.best()
            critical = line.critical(best)
        named = {f"loss_along_update/{t:g}": x for t, x in grid.items()}
        return {**named, "best_multiple": best, "critical_multiple": critical}

    def on_quadratic(self, p: Point, h: Tensor) -> dict[str, float]:
        """The parabola."""
        w, u = tree.flat(p.w), tree.flat(p.u or {})
        slope, curvature = float(w @ h @ u), float(u @ h @ u)
        start = float(w @ h @ w) / 2
        out = {f"loss_along_update/{t:g}": start - t * slope + t * t * curvature / 2 for t in (0.0, *self.multiples)}
        best = max(slope / curvature, 0.0) if curvature > 0 else math.inf if slope > 0 else 0.0
        return {**out, "best_multiple": best, "critical_multiple": 2 * best}


@dataclass
class _Line:
    """The loss along a ray from 0, at the places `known`, with `left` more to be asked."""

    loss: Callable[[float], float]
    known: dict[float, float]
    left: int

    def best(self) -> float:
        """The place of the least loss."""
        for _ in range(self.left + 1):
            places, i = self._places()
            if i == 0:
                t = self._vertex(0, 1, 2)
                if t <= 0 or not self._ask(t):
                    return 0.0
            elif i == len(places) - 1:
                if not self._ask(2 * places[-1]):
                    return math.inf
            else:
                t, apart = self._vertex(i - 1, i, i + 1), places[i + 1] - places[i - 1]
                # Places much closer than the bracket is wide would measure the rounding of the loss.
                if not math.isfinite(t):
                    return places[i]
                if abs(t - places[i]) < CLOSE * apart or not self._ask(t):
                    return t
        return self._places()[0][self._places()[1]]

    def critical(self, best: float) -> float:
        """The first place at which the loss is back at where it started."""
        if best in (0.0, math.inf):
            return best
        while not any(self._rise(t) > 0 for t in self.known):
            if not self._ask(2 * max(self.known)):
                return math.inf
        for _ in range(self.left + 1):
            places, _ = self._places()
            i = next(i for i, t in enumerate(places) if self._rise(t) > 0)
            low, high = places[i - 1], places[i]
            if not low:
                return 0.0
            # The rise over the distance is a straight line where the loss is a parabola.
            a, b = self._rise(low) / low, self._rise(high) / high
            t = low - a * (high - low) / (b - a) if math.isfinite(b) else (low + high) / 2
            close = math.isfinite(b) and min(t - low, high - t) < CLOSE * (high - low)
            if close or not self._ask(t):
                return t
        return t

    def _places(self) -> tuple[list[float], int]:
        """All places, ascending, and which of them has the least loss."""
        places = sorted(self.known)
        return places, min(range(len(places)), key=lambda i: self.known[places[i]])

    def _rise(self, t: float) -> float:
        return self.known[t] - self.known[0.0]

    def _vertex(self, i: int, j: int, k: int) -> float:
        """Of the parabola through three places; infinite where it is no valley."""
        (a, b, c), f = (self._places()[0][n] for n in (i, j, k)), self.known
        left, right = (f[b] - f[a]) / (b - a), (f[c] - f[b]) / (c - b)
        bend = (right - left) / (c - a)
        if not math.isfinite(bend):
            return (b + c) / 2 if math.isfinite(left) else (a + b) / 2
        return (a + b) / 2 - left / (2 * bend) if bend > 0 else -math.inf

    def _ask(self, t: float) -> bool:
        """Ask at `t`; False where it is known, or no more may be asked."""
        if t in self.known or not self.left:
            return False
        self.left -= 1
        self.known[t] = _or_infinite(self.loss(t))
        return True


def _or_infinite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
