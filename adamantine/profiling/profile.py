"""The profile of a task: estimates with intervals, from what `Observer` has written over several seeds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adamantine import stats
from adamantine.result import Result


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval over `n` seeds; `why` says in words what prevents one, or what it means."""

    value: float
    low: float
    high: float
    n: int
    why: str = ""

    @property
    def known(self) -> bool:
        """Whether there is an estimate."""
        return math.isfinite(self.value) and not self.why

    def __str__(self) -> str:
        """Value and interval, or why there is none."""
        return self.why or f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Section:
    """Estimates by name for one group of tensors, or for the task as a whole."""

    group: str
    pairs: tuple[tuple[str, Estimate], ...]

    def __getitem__(self, name: str) -> Estimate:
        for own, estimate in self.pairs:
            if own == name:
                return estimate
        raise KeyError(f"Profile: {self.group!r} has no {name!r}; it has {', '.join(k for k, _ in self.pairs)}.")

    def value(self, name: str, otherwise: float = math.nan) -> float:
        """The estimate called `name` where it is known."""
        found = dict(self.pairs).get(name)
        return found.value if found is not None and found.known else otherwise


@dataclass(frozen=True)
class Profile:
    """Sections of a task that was trained at `rate` in batches of `batch` with `period` steps between renewals.

    Of each group of tensors: `noise_scale` (tr Sigma / |G|^2, examples), `noise_to_signal` (the same over the batch),
    `drift` (squared shift of the gradient at a renewal over |G|^2), `shift_cosine` (between the gradients before and
    after, at the same weights), `jump` (ratio of their lengths), `naive_jump` (the same from batches trained on, which
    also sees that these were learnt by heart), `staleness` (cosine of momentum and gradient), `dormant`, `rank` and
    `norm` as `Observer` has them.
    Of the task: `kl_step`, `churn`, `kl_renewal` (nats), `feedback` (squared shift of the inputs a dimension, per nat;
    0 where nothing ever changes), `reward_density` (share that is not 0), `reward_variety` (share that differs from the
    most frequent), `horizon` (steps, by the discounts), `error_fraction`.
    """

    sections: tuple[Section, ...]
    rate: float
    batch: int
    period: int

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of tensors."""
        return tuple(s.group for s in self.sections if s.group != "task")

    def __getitem__(self, group: str) -> Section:
        found = {s.group: s for s in self.sections}
        if group not in found:
            raise KeyError(f"Profile: there is no group {group!r}; there are {', '.join(found)}.")
        return found[group]


# Why there is no estimate, and what that means.
NOT_DETECTABLE, NEVER, UNTOLD = "not detectable", "never changes", "not told"
LEGEND = {
    NOT_DETECTABLE: "the squared gradient does not stand out of its noise over these seeds",
    NEVER: "does not apply: the task has no renewals, its objective stays",
    UNTOLD: "does not apply: the task has no method that tells it",
}


def profile_of(results: Sequence[Result], rate: float, batch: int, period: int, horizon: float = math.nan) -> Profile:
    """From runs of several seeds with an `Observer`. ValueError where they have measured nothing.

    Ratios are of means over the second half of training, so that the start does not count; intervals are Student's t
    over seeds.
    """
    if not results or not any(r.name.endswith("/signal") for r in results[0].rows):
        raise ValueError("profile_of: the runs have no rows of an Observer; give it in `probes`.")
    groups = dict.fromkeys(r.name.split("/")[0] for r in results[0].rows if r.name.endswith("/signal"))
    sections = [_group(g, [_means(r, f"{g}/") for r in results], batch, period) for g in groups]
    whole = _whole([_means(r, "") for r in results], horizon)
    return Profile((*sections, whole), rate, batch, period)


def _means(result: Result, prefix: str) -> dict[str, float]:
    """Mean of each row over the second half of training; the products with the motion, for slopes, as well."""
    names = {r.name for r in result.rows if r.name.startswith(prefix)}
    found = {}
    for name in names:
        steps, x = result.series(name)
        late = x[steps >= steps[-1] / 2]
        found[name.removeprefix(prefix)] = float(late.mean()) if len(late) else math.nan
    steps, shift = result.series("shift")
    at, kl = result.series("kl_renewal")
    if len(shift) and len(kl):
        both = dict(zip(at.tolist(), kl, strict=True))
        pairs = np.array([(s, both[t]) for t, s in zip(steps.tolist(), shift, strict=True) if t in both])
        found["shift_kl"], found["kl_kl"] = float((pairs[:, 0] * pairs[:, 1]).mean()), float((pairs[:, 1] ** 2).mean())
    return found


Ratio = Callable[[dict[str, float]], float]


def _estimate(seeds: list[dict[str, float]], of: Ratio, needs: Sequence[str], why: str) -> Estimate:
    if any(name not in m for m in seeds for name in needs):
        return Estimate(math.nan, -math.inf, math.inf, len(seeds), why)
    effect = stats.mean([of(m) for m in seeds])
    return Estimate(
        effect.value, effect.low, effect.high, len(seeds), NOT_DETECTABLE if math.isnan(effect.value) else ""
    )


def _group(group: str, seeds: list[dict[str, float]], batch: int, period: int) -> Section:
    signal = _estimate(seeds, lambda m: m["signal"], ["signal"], UNTOLD)
    seen = signal.low > 0 or (len(seeds) < 2 and signal.value > 0)
    total = {name: float(np.mean([m[name] for m in seeds])) for name in seeds[0] if all(name in m for m in seeds)}

    def ratio(above: str, power: float = 1.0, below: str = "signal") -> Ratio:
        """By the mean of the denominator over seeds: one seed's may be near zero."""
        scale = abs(total.get(below, 0.0)) or math.inf
        return lambda m: math.copysign(abs(m[above] / scale) ** power, m[above])

    def told(of: Ratio, needs: Sequence[str], why: str, signal: bool = True) -> Estimate:
        if signal and not seen and all(n in total for n in needs):
            return Estimate(math.nan, -math.inf, math.inf, len(seeds), NOT_DETECTABLE)
        return _estimate(seeds, of, needs, why)

    def cosine(m: dict[str, float]) -> float:
        return m["cross"] / math.sqrt(max(total["before"] * total["signal"], 1e-300))

    def stale(m: dict[str, float]) -> float:
        return m["momentum_dot"] / math.sqrt(max(total["momentum_square"] * total["signal"], 1e-300))

    changes = ["before", "cross", "drift"]
    pairs = {
        "signal": signal,
        "noise_scale": told(ratio("noise"), ["noise"], UNTOLD),
        "noise_to_signal": told(lambda m: ratio("noise")(m) / batch, ["noise"], UNTOLD),
        "drift": told(ratio("drift"), changes, NEVER),
        "drift_a_step": told(lambda m: ratio("drift")(m) / period**2, changes, NEVER),
        "shift_cosine": told(cosine, changes, NEVER),
        "jump": told(lambda m: math.sqrt(max(total["signal"], 0) / max(m["before"], 1e-300)), changes, NEVER),
        "naive_jump": told(ratio("fresh", 0.5, "stale"), ["fresh", "stale"], NEVER, False),
        "staleness": told(stale, ["momentum_dot", "momentum_square"], UNTOLD),
        "dormant": _estimate(seeds, lambda m: m["dormant"], ["dormant"], UNTOLD),
        "rank": _estimate(seeds, lambda m: m["rank"], ["rank"], UNTOLD),
        "norm": _estimate(seeds, lambda m: m["norm"], ["norm"], UNTOLD),
    }
    return Section(group, tuple(pairs.items()))


def _whole(seeds: list[dict[str, float]], horizon: float) -> Section:
    def plain(name: str, why: str = UNTOLD) -> Estimate:
        return _estimate(seeds, lambda m: m[name], [name], why)

    def slope_of(m: dict[str, float]) -> float:
        return m["shift_kl"] / m["kl_kl"] if m["kl_kl"] > 0 else math.nan

    slope = _estimate(seeds, slope_of, ["shift_kl", "kl_kl"], NEVER)
    if slope.why == NEVER:  # nothing that is predicted changes the data
        slope = Estimate(0.0, 0.0, 0.0, len(seeds))
    far = Estimate(horizon, horizon, horizon, len(seeds), "" if math.isfinite(horizon) else UNTOLD)
    pairs = {name: plain(name) for name in ("kl_step", "churn", "error_fraction")}
    pairs |= {"kl_renewal": plain("kl_renewal", NEVER), "feedback": slope, "reward_density": plain("rewarded")}
    pairs["reward_variety"] = plain("varied")
    return Section("task", (*pairs.items(), ("horizon", far)))
