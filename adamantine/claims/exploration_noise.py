"""Does noise help an agent explore where rewards are sparse, and where should it be put?

The noise of an optimizer is often said to help exploration. It can be in the copy of the actor that acts (Plappert et
al., arXiv:1706.01905), in the actions, or in the updates, where it stays; it can be always on, or only while all
rewards are alike. The three differ first of all in how much of it there is, so here each costs the same: so many nats
of divergence of the policy a rollout. Worlds whose reward is sparse (mountain car, deep sea, cart-pole that pays at the
end) stand against the same or similar ones whose reward is dense, where the prediction is that no noise gains anything.
Proximal policy optimization by Adam at one rate, entropy bonus and all, so that noise is compared with what the
algorithm explores by itself.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adamantine import scores
from adamantine.contest import ROWS, Event
from adamantine.control.acrobot import Acrobot
from adamantine.control.cart_pole import CartPole
from adamantine.control.deep_sea import DeepSea
from adamantine.control.mountain_car import MountainCar
from adamantine.evidence import above
from adamantine.finding import INCONCLUSIVE, SUPPORTED, Curve, Figure, Finding, Findings, Table
from adamantine.optim.adam import adam
from adamantine.optim.clip import Clip
from adamantine.optim.schedule import Linear
from adamantine.optim.update_noise import UpdateNoise
from adamantine.result import Results
from adamantine.run import Run
from adamantine.stats import Effect, mean
from adamantine.tasks.ppo import PPO

NATS = 0.02  # a rollout
RATE = 2.5e-3
PLACES, GATES = ("actions", "acting copy", "updates"), ("always", "silent")
NONE = "none"


@dataclass(frozen=True)
class Setting:
    """Worlds with a sparse and with a dense reward, and how long and often each is learnt."""

    sparse: tuple[Event, ...]
    dense: tuple[Event, ...]
    seeds: int

    @property
    def events(self) -> tuple[Event, ...]:
        """All of them."""
        return (*self.sparse, *self.dense)


def setting(scale: str) -> Setting:
    """The worlds of this scale."""
    n = {"tiny": 3, "laptop": 80, "gpu": 800}[scale]

    def event(name: str, world: Any, low: float, high: float) -> Event:
        task = PPO(world, envs=2, horizon=32) if scale == "tiny" else PPO(world)
        return Event(name, task, n * task.period, low, high)

    sparse = [
        event("deep sea", DeepSea(8 if scale != "gpu" else 16, sparse=True), 0.0, 1.0),
        event("mountain car, sparse", MountainCar(sparse=True), 0.0, 1.0),
        event("cart-pole, sparse", CartPole(limit=100, sparse=True), 0.0, 1.0),
    ]
    dense = [event("cart-pole", CartPole(), 20.0, 500.0), event("acrobot", Acrobot(), -500.0, -75.0)]
    if scale == "tiny":
        return Setting(tuple(sparse[:1]), tuple(dense[:1]), 3)
    return Setting(tuple(sparse), tuple(dense), {"laptop": 10, "gpu": 32}[scale])


def variants() -> tuple[tuple[str, str], ...]:
    """Where noise is and when; ("none", "always") for none."""
    return ((NONE, "always"), *((place, gate) for place in PLACES for gate in GATES))


def run(event: Event, variant: tuple[str, str], seed: int) -> Run:
    """One training run with this noise."""
    (place, gate), task = variant, event.task
    part = Clip(0.5, adam(RATE, eps=1e-5, schedule=Linear(warmup=0.0)))
    if place == "actions":
        task = replace(task, action_nats=NATS, gate=gate)
    elif place == "acting copy":
        task = replace(task, behaviour_nats=NATS, gate=gate)
    elif place == "updates":
        part = part >> UpdateNoise(NATS / task.period, gate, "actor.*")  # pyright: ignore[reportArgumentType]
    return Run(task, part, event.steps, seed, every=max(1, event.steps // ROWS))


def runs(scale: str, results: Results) -> list[Run]:
    """Every variant in every world, on the same seeds."""
    s = setting(scale)
    return [run(e, v, seed) for e in s.events for v in variants() for seed in range(s.seeds)]


def expected(scale: str) -> int:
    """How many runs there are."""
    return len(runs(scale, Results()))


def _scores(events: tuple[Event, ...], v: tuple[str, str], seeds: int, results: Results) -> list[np.ndarray]:
    found = []
    for event in events:
        ended = [results.get(run(event, v, seed)) for seed in range(seeds)]
        found.append(np.array([event.score(r) for r in ended if r is not None]))
    return found


def _gain(events: tuple[Event, ...], v: tuple[str, str], seeds: int, results: Results, level: float) -> Effect:
    own, none = (_scores(events, x, seeds, results) for x in (v, variants()[0]))
    return scores.iqm_difference(own, none, level)


def verdict(scale: str, results: Results) -> Findings:
    """What each noise gains where rewards are sparse, and where they are dense."""
    s = setting(scale)
    noisy = variants()[1:]
    level = 1 - 0.05 / len(noisy)
    found: dict[tuple[str, str], tuple[Finding, Finding]] = {}
    for v in noisy:
        pair = []
        for kind, events in (("sparse", s.sparse), ("dense", s.dense)):
            statement = f"Noise in {_named(v)} raises the score where rewards are {kind}"
            effect = _gain(events, v, s.seeds, results, level)
            names = " and ".join(e.name for e in events)
            pair.append(above(statement, effect, 0.0, "of the score", names, _keys(events, v, s.seeds, results)))
        found[v] = pair[0], pair[1]
    best = max(noisy, key=lambda v: found[v][0].effect)
    others = [f for v in noisy if v != best for f in found[v]]
    notes = [
        f"Each noise is sized to cost {NATS:g} nats of KL a rollout; noise in actions costs less where a policy is "
        "nearly uniform already, see the table."
    ]
    return Findings(_answer(found, best), (*found[best], *others), tuple(notes))


def _named(v: tuple[str, str]) -> str:
    return f"{v[0]} ({'always on' if v[1] == 'always' else 'on while all rewards are alike'})"


def _keys(events: tuple[Event, ...], v: tuple[str, str], seeds: int, results: Results) -> tuple[str, ...]:
    return tuple(results.key(run(e, x, k)) for e in events for x in (variants()[0], v) for k in range(seeds))


def _answer(found: dict[tuple[str, str], tuple[Finding, Finding]], best: tuple[str, str]) -> str:
    sparse, dense = found[best]
    gains = [_named(v) for v, (f, _) in found.items() if f.verdict == SUPPORTED]
    low, high = sparse.interval
    size = f"the best, in {_named(best)}, by {sparse.effect:.3f} ({low:.3f} to {high:.3f}) of the score"
    first = f"Noise helps where rewards are sparse: in {', '.join(gains)}" if gains else "No noise was found to help"
    if not gains and sparse.verdict != INCONCLUSIVE:
        first = "Noise does not help where rewards are sparse"
    return f"{first}; {size}, where they are dense by {dense.effect:.3f}."


def figures(scale: str, results: Results) -> list[Any]:
    """Gains by world, and the numbers with what was spent."""
    s = setting(scale)
    noisy, drawn = variants()[1:], []
    for v in noisy:
        effects = []
        for event in s.events:
            own, none = (_scores((event,), x, s.seeds, results)[0] for x in (v, variants()[0]))
            effects.append(mean((own - none).tolist()))
        y, low, high = ([getattr(e, part) for e in effects] for part in ("value", "low", "high"))
        drawn.append(Curve(_named(v), [e.name for e in s.events], y, low, high, style="bar"))
    figure = Figure(
        "What noise gains, world by world",
        f"Area under the learning curve less that without noise, paired over {s.seeds} seeds; 95 % intervals.",
        "",
        "score less that without noise",
        tuple(drawn),
        x_scale="category",
        keys=tuple(k for v in noisy for k in _keys(s.events, v, s.seeds, results)),
    )
    rows = []
    for event in s.events:
        for v in variants():
            x = mean(_scores((event,), v, s.seeds, results)[0].tolist())
            ended = [results.get(run(event, v, k)) for k in range(s.seeds)]
            spent = [r.last("spent") for r in ended if r is not None and len(r.series("spent")[1])]
            rollouts = event.steps / event.task.period
            told = float(np.mean(spent)) / rollouts if spent else (NATS if v == ("updates", "always") else float("nan"))
            rows.append((event.name, v[0], v[1], x.value, (x.high - x.low) / 2, 0.0 if v[0] == NONE else told))
    table = Table(
        "Every world and noise",
        "Areas under the learning curve with half their 95 % intervals, and the nats spent a rollout: as measured on "
        "what was met; for updates as asked, and not counted where they are gated.",
        ("world", "noise in", "when", "score", "±", "nats a rollout"),
        tuple(rows),
    )
    return [figure, table]
