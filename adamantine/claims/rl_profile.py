"""Does the optimizer derived from a task's profile beat a tuned Adam at its one default setting?

Each task is profiled while Adam trains it at a rate that nobody chose for it (1e-3): noise and drift of the gradient,
how far steps move predictions. Closed forms then give momentum, memory of squares, rates and what becomes of the state
at renewals, for actor and critic apart (`adamantine.profiling.derived`), before any run of the comparison: the derived
optimizer is not tuned at all. Adam is tuned, but as practitioners get it: one rate for all tasks, the best over them on
tuning seeds. The prediction fails for a task where the derived optimizer scores lower, and the claim where it scores
lower over all. The tasks are cart-pole, acrobot, and regressions with one dial turned at a time; Adam tuned for each
task by itself stands beside as the most that tuning could give.
"""

from typing import Any

import numpy as np

from adamantine import scores
from adamantine.comparison import Arm
from adamantine.contest import Contest, Event
from adamantine.control.acrobot import Acrobot
from adamantine.control.cart_pole import CartPole
from adamantine.control.gym import Gym
from adamantine.evidence import above
from adamantine.finding import Curve, Figure, Finding, Findings, Table
from adamantine.optim.adam import adam
from adamantine.optim.clip import Clip
from adamantine.optim.schedule import Linear
from adamantine.part import Part
from adamantine.profiling.derived import derived, settings
from adamantine.profiling.observer import Observer
from adamantine.profiling.profile import Profile, profile_of
from adamantine.result import Result, Results
from adamantine.run import Run
from adamantine.stats import Effect, mean
from adamantine.tasks.dials import Dials
from adamantine.tasks.ppo import PPO

ADAM = "Adam"
RATE = 1e-3  # at which tasks are profiled


def _adam(rate: float, seed: int) -> Part:
    return Clip(0.5, adam(rate, eps=1e-5, schedule=Linear(warmup=0.0)))


DIALS = {
    "no dial": Dials(),
    "drift": Dials(drift=0.3),
    "fast drift": Dials(drift=0.3, period=4),
    "noise": Dials(noise=4.0),
    "feedback": Dials(feedback=0.5),
    "sparse and late": Dials(density=0.3, delay=4),
    "bootstrapping": Dials(bootstrap=0.5),
}


def contest(scale: str) -> Contest:
    """Adam on all tasks, at the same rates."""
    grid = tuple(float(f"{10 ** (-4 + 0.5 * i):.4g}") for i in range(7 if scale != "tiny" else 3))
    dials, steps = DIALS, 960
    control: dict[str, tuple[Any, float, float]] = {
        "cart-pole": (PPO(CartPole()), 20.0, 500.0),
        "acrobot": (PPO(Acrobot()), -500.0, -75.0),
    }
    setting: dict[str, Any] = {"seeds": 10, "tuning_seeds": 3}
    rollouts = 120
    if scale == "tiny":
        control = {"cart-pole": (PPO(envs=2, horizon=32), 20.0, 500.0)}
        dials, steps, rollouts = {k: DIALS[k] for k in ("no dial", "drift")}, 64, 6
        setting = {"seeds": 3, "tuning_seeds": 1, "widen": 0}
    elif scale == "gpu":
        robot = PPO(Gym("HalfCheetah-v4"), 1, 2048, 10, 32, entropy=0.0, normalize=True)
        control["half-cheetah"] = (robot, -300.0, 3000.0)
        rollouts, setting = 488, {"seeds": 32, "tuning_seeds": 8}
    events = [Event(k, t, rollouts * t.period, low, high) for k, (t, low, high) in control.items()]
    for name, task in dials.items():
        still = 0.5 * task.noise**2 * task.density  # what is left at the best weights
        events.append(Event(name, task, steps, still + 0.5 * task.density, still, "loss"))
    return Contest(tuple(events), (Arm(ADAM, _adam, grid),), **setting)


def profiling(scale: str, event: Event) -> list[Run]:
    """Runs from which the profile of a task is taken; their seeds are tuning seeds."""
    task = event.task
    if isinstance(task, PPO):
        task = PPO(**{**_fields(task), "held_out": 2 * -(-task.envs // 2)})
    steps = min(event.steps, 60 * task.period)
    part = _adam(RATE, 0)
    count = 3 if scale == "tiny" else 6
    return [Run(task, part, steps, s, "tune", task.period, probes=(Observer(),)) for s in range(count)]


def _fields(task: PPO) -> dict[str, Any]:
    return {name: getattr(task, name) for name in task.__dataclass_fields__}


def profiled(scale: str, event: Event, results: Results) -> Profile | None:
    """The profile of a task; None while runs are missing."""
    found = [results.get(run) for run in profiling(scale, event)]
    whole = [r for r in found if r is not None]
    if len(whole) < len(found):
        return None
    task = event.task
    batch = task.envs * task.horizon // task.minibatches if isinstance(task, PPO) else task.batch
    return profile_of(whole, RATE, batch, task.period)


def following(scale: str, c: Contest, event: Event, results: Results) -> list[Run]:
    """Reporting runs of the derived optimizer; none while the profile is not known."""
    profile = profiled(scale, event, results)
    if profile is None:
        return []
    arm = Arm("derived", _adam, (1.0,))
    runs = [c.run(event, arm, 1.0, seed, "report") for seed in range(c.seeds)]
    part = derived(profile)
    return [Run(r.task, part, r.steps, r.seed, r.role, r.every) for r in runs]


def runs(scale: str, results: Results) -> list[Run]:
    """Profiles, Adam's tuning and reporting, and the derived optimizers."""
    c = contest(scale)
    own = [run for e in c.events for run in (*profiling(scale, e), *following(scale, c, e, results))]
    return [*own, *c.runs(results)]


def expected(scale: str) -> int:
    """About how many runs there are."""
    c = contest(scale)
    return c.expected + len(c.events) * (2 * c.seeds + (3 if scale == "tiny" else 6))


def _scores(scale: str, results: Results) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Scores over seeds a task: derived, Adam at its default rate, Adam tuned for each."""
    c = contest(scale)
    own = []
    for event in c.events:
        found = [r for r in map(results.get, following(scale, c, event, results)) if r is not None]
        own.append(np.array([event.score(r) for r in found]))
    return own, c.scores(ADAM, results, default=True), c.scores(ADAM, results)


def verdict(scale: str, results: Results) -> Findings:
    """Derived against the default Adam over all tasks, against the tuned one, and how often it wins."""
    c = contest(scale)
    own, default, tuned = _scores(scale, results)
    keys = _keys(scale, results)
    every = f"{len(c.events)} tasks"
    chief = above(
        "The optimizer derived from the profile scores higher than Adam at its one default rate",
        scores.iqm_difference(own, default),
        0.0,
        "of the score",
        every,
        keys,
    )
    most = above(
        "The derived optimizer scores higher than Adam tuned for each task",
        scores.iqm_difference(own, tuned),
        0.0,
        "of the score",
        every,
        keys,
    )
    wins = [mean((a - b).tolist()) for a, b in zip(own, default, strict=True)]
    hits = sum(w.value > 0 for w in wins)
    rate = scores.rate(hits, len(wins))
    often = above(
        "The derived optimizer scores higher on more than half of the tasks", rate, 0.5, "of tasks", every, keys
    )
    each = [_each(e, w, results, c) for e, w in zip(c.events, wins, strict=True)]
    return Findings(_answer(chief, hits, wins), (chief, often, most, *each), tuple(c.notes(results)))


def _each(event: Event, effect: Effect, results: Results, c: Contest) -> Finding:
    statement = f"On {event.name}, the derived optimizer scores higher than Adam at its default rate"
    keys = tuple(r.key for r in c.results(event, c.arms[0], results, default=True))
    return above(statement, effect, 0.0, "of the score", "each task", keys)


def _answer(chief: Finding, hits: int, wins: list[Effect]) -> str:
    sure = sum(w.above(0.0) for w in wins), sum(w.below(0.0) for w in wins)
    low, high = chief.interval
    return (
        f"The optimizer derived from each profile differs from Adam at its one default rate by {chief.effect:.3f} of "
        f"the score ({low:.3f} to {high:.3f}); it scores higher on {hits} of {len(wins)} tasks, surely on {sure[0]}, "
        f"and surely lower on {sure[1]}."
    )


def _keys(scale: str, results: Results) -> tuple[str, ...]:
    c = contest(scale)
    found: list[Result | None] = [results.get(r) for e in c.events for r in following(scale, c, e, results)]
    return tuple(r.key for r in found if r is not None)


def figures(scale: str, results: Results) -> list[Any]:
    """Scores by task, the settings that were derived, and the profiles behind them."""
    c, names = contest(scale), []
    own, default, tuned = _scores(scale, results)
    drawn = []
    for name, found in (("derived, not tuned", own), ("Adam, one rate", default), ("Adam, tuned for each", tuned)):
        names = [e.name for e in c.events]
        bands = [mean(x.tolist()) for x in found]
        y, low, high = ([getattr(b, part) for b in bands] for part in ("value", "low", "high"))
        drawn.append(Curve(name, names, y, low, high, style="bar"))
    figure = Figure(
        "Scores by task",
        f"Mean area under the learning curve over {c.seeds} reporting seeds, 95 % intervals; 0 and 1 are a random "
        "policy and the best return, or the loss at the start and the least possible.",
        "",
        "score",
        tuple(drawn),
        x_scale="category",
        keys=_keys(scale, results),
    )
    rows, measured = [], []
    for event in c.events:
        profile = profiled(scale, event, results)
        assert profile is not None
        for group in profile.groups:
            found = settings(profile, group)
            rows.append((event.name, group, *(found[k] for k in ("beta1", "beta2", "lr", "renewal"))))
            names = ("noise_to_signal", "drift_a_step", "shift_cosine", "jump", "naive_jump", "staleness")
            measured.append((event.name, group, *(str(profile[group][n]) for n in names)))
    rate = c.default(c.arms[0], results)
    return [
        figure,
        Table(
            "What was derived",
            f"Adam's one default rate is {rate:.3g}.",
            ("task", "group", "beta1", "beta2", "rate", "at renewals"),
            tuple(rows),
        ),
        Table(
            "From these profiles",
            "Means over seeds with 95 % intervals, while Adam trained at 0.001.",
            ("task", "group", "noise / signal", "drift a step", "shift cosine", "jump", "naive jump", "staleness"),
            tuple(measured),
        ),
    ]
