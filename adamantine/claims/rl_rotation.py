"""Does Adam's dependence on the basis carry over to reinforcement learning, and to actor or critic?

On Transformers a random rotation of the coordinates takes much of Adam's advantage over SGD away (Maes, Zhang et al.,
arXiv:2410.19964). Here the actor, the critic, or both are trained by Adam in randomly rotated coordinates, each tensor
by itself, everything else as it was: proximal policy optimization at CleanRL's settings but for the rate, which is
tuned for every arm alike. SGD with momentum, which no rotation changes, says how much of Adam there is to lose. The
prediction, written down before the first run: since tuned SGD ties tuned Adam on classic control, a rotation costs
next to nothing, within a fiftieth of the score, for the actor and for the critic.
"""

from functools import partial
from typing import Any

from adamantine import scoreboard
from adamantine.comparison import Arm
from adamantine.contest import Contest, Event
from adamantine.control.acrobot import Acrobot
from adamantine.control.cart_pole import CartPole
from adamantine.control.gym import Gym
from adamantine.evidence import above, within
from adamantine.finding import REFUTED, SUPPORTED, Finding, Findings
from adamantine.optim.adam import adam
from adamantine.optim.basis import InBasis
from adamantine.optim.clip import Clip
from adamantine.optim.rotations import BlockHaar
from adamantine.optim.schedule import Linear
from adamantine.optim.sgd import sgd
from adamantine.part import Part
from adamantine.result import Results
from adamantine.role import Named
from adamantine.route import Route
from adamantine.run import Run
from adamantine.tasks.ppo import PPO

ADAM, SGD = "Adam", "SGD"
ROTATED = {"actor rotated": "actor.*", "critic rotated": "critic.*", "both rotated": "*"}
MARGIN = 0.02
UNIT = "of the score"
FALL = Linear(warmup=0.0)


def _adam(rate: float, seed: int) -> Part:
    return Clip(0.5, adam(rate, eps=1e-5, schedule=FALL))


def _descent(rate: float, seed: int) -> Part:
    return Clip(0.5, sgd(rate, 0.9, schedule=FALL))


def _rotated(which: str, rate: float, seed: int) -> Part:
    plain = adam(rate, eps=1e-5, schedule=FALL)
    turned = InBasis(plain, BlockHaar("layer", block=256))
    return Clip(0.5, turned if which == "*" else Route(Named(which), turned, plain))


def contest(scale: str) -> Contest:
    """Adam, rotated and not, and SGD."""
    setting: dict[str, Any] = {"seeds": 12, "tuning_seeds": 3}
    worlds: dict[str, tuple[Any, float, float]]
    n, rollouts = 5, 120
    worlds = {"cart-pole": (PPO(CartPole()), 20.0, 500.0), "acrobot": (PPO(Acrobot()), -500.0, -75.0)}
    if scale == "tiny":
        worlds, n, rollouts = {"cart-pole": (PPO(envs=2, horizon=32), 20.0, 500.0)}, 3, 3
        setting = {"seeds": 3, "tuning_seeds": 1, "widen": 0}
    elif scale == "gpu":
        robot = PPO(Gym("HalfCheetah-v4"), 1, 2048, 10, 32, entropy=0.0, normalize=True)
        worlds["half-cheetah"], rollouts = (robot, -300.0, 3000.0), 488
        setting = {"seeds": 32, "tuning_seeds": 8}
    events = tuple(Event(k, t, rollouts * t.period, low, high) for k, (t, low, high) in worlds.items())
    base = _grid(3e-3, n)
    arms = [Arm(k, partial(_rotated, which), base) for k, which in ROTATED.items()]
    return Contest(events, (Arm(ADAM, _adam, base), *arms, Arm(SGD, _descent, _grid(0.3, n))), **setting)


def _grid(centre: float, n: int) -> tuple[float, ...]:
    return tuple(float(f"{centre * 10 ** (0.5 * (i - n // 2)):.4g}") for i in range(n))


def runs(scale: str, results: Results) -> list[Run]:
    """Tuning of every arm on each task, then its reporting seeds."""
    return contest(scale).runs(results)


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    c = contest(scale)
    return c.expected + (len(c.events) > 1) * len(c.events) * len(c.arms) * c.seeds


def verdict(scale: str, results: Results) -> Findings:
    """What a rotation of both costs, then of each, and what there was to lose."""
    c = contest(scale)
    tasks = " and ".join(e.name for e in c.events)
    found: list[Finding] = []
    for name in reversed(ROTATED):
        statement = f"Adam, {name}, scores as without: within {MARGIN:g} of the score"
        effect = c.against(name, ADAM, results)
        found.append(within(statement, effect, MARGIN, UNIT, tasks, c.keys(results, name, ADAM)))
    lead = c.against(ADAM, SGD, results)
    found.append(
        above("Adam, tuned, scores higher than SGD, tuned", lead, 0.0, UNIT, tasks, c.keys(results, ADAM, SGD))
    )
    notes = c.notes(results)
    notes.append("One random rotation a length of tensor, the same in all runs, within blocks of 256 coordinates.")
    return Findings(_answer(found), tuple(found), tuple(notes))


def _answer(found: list[Finding]) -> str:
    both, lead = found[0], found[-1]
    low, high = both.interval
    say = {
        SUPPORTED: "Adam's dependence on the basis does not carry over to these tasks",
        REFUTED: "Adam depends on the basis here too",
    }
    first = say.get(both.verdict, "It cannot be said whether Adam's dependence on the basis carries over")
    return (
        f"{first}: with actor and critic rotated it scores {both.effect:+.3f} ({low:+.3f} to {high:+.3f}), beside a "
        f"lead over SGD of {lead.effect:+.3f} ({lead.interval[0]:+.3f} to {lead.interval[1]:+.3f})."
    )


def figures(scale: str, results: Results) -> list[Any]:
    """Differences, curves, sensitivity, and the numbers."""
    c = contest(scale)
    drawn: list[Any] = [scoreboard.differences(c, ADAM, results)]
    for event in c.events:
        drawn += [scoreboard.curves(c, event, results), scoreboard.sensitivity(c, event, results)]
    return [*drawn, scoreboard.summary(c, ADAM, results)]
