"""Do optimizers made for reinforcement learning beat a tuned Adam?

Adam-Rel (Ellis et al., arXiv:2412.17113) counts steps anew when the objective changes, resetting (Asadi et al.,
arXiv:2306.17833) forgets the momentum, equal betas and annealed epsilon (RAD) bound what a step may overshoot. Most
published gains are confounded with the learning rate: each of these methods also takes shorter or longer steps than
Adam at the same rate. So every method is tuned on an equal budget of rates and seeds, and reported on fresh seeds, all
paired; and beside each stand two controls. One has Adam's direction with the length of the method's own step, tensor
by tensor (grafting, arXiv:2002.11803): what it gains is a matter of size and schedule. The other is the stationary
supervised twin, the same networks and number of steps with an objective that stays: what is gained there has nothing
to do with reinforcement learning. Proximal policy optimization at CleanRL's settings but for the rate, which falls
linearly to zero for all; SGD with momentum and its signs tell whether the tasks tell optimizers apart at all.
"""

from functools import partial
from typing import Any

from adamantine import scoreboard
from adamantine.comparison import Arm
from adamantine.contest import Contest, Event
from adamantine.control.acrobot import Acrobot
from adamantine.control.cart_pole import CartPole
from adamantine.control.gym import Gym
from adamantine.evidence import above
from adamantine.finding import SUPPORTED, Finding, Findings
from adamantine.optim.adam import adam
from adamantine.optim.annealed import rad
from adamantine.optim.clip import Clip
from adamantine.optim.graft import Graft
from adamantine.optim.local_time import adam_rel
from adamantine.optim.reset import adam_reset
from adamantine.optim.schedule import Linear
from adamantine.optim.sgd import sgd
from adamantine.optim.sign import signum
from adamantine.part import Part
from adamantine.result import Results
from adamantine.run import Run
from adamantine.tasks.ppo import PPO
from adamantine.tasks.twin import Twin

ADAM, SGD, SIGN = "Adam", "SGD", "sign of momentum"
FALL = Linear(warmup=0.0)
EPS, CLIP = 1e-5, 0.5
UNIT = "of the score"


def _adam(rate: float, seed: int) -> Part:
    return adam(rate, eps=EPS, schedule=FALL)


def _relative(rate: float, seed: int) -> Part:
    return adam_rel(rate, eps=EPS, schedule=FALL)


def _reset(rate: float, seed: int) -> Part:
    return adam_reset(rate, eps=EPS, schedule=FALL)


def _equal(rate: float, seed: int) -> Part:
    return adam(rate, 0.99, 0.99, eps=EPS, schedule=FALL)


def _annealed(rate: float, seed: int) -> Part:
    return rad(rate, schedule=FALL)


def _descent(rate: float, seed: int) -> Part:
    return sgd(rate, 0.9, schedule=FALL)


def _signs(rate: float, seed: int) -> Part:
    return signum(rate, schedule=FALL)


# The methods, with how much larger their rates are than Adam's where they take shorter steps.
SPECIAL = {
    "Adam-Rel": (_relative, 3.0),
    "reset": (_reset, 1.0),
    "equal betas": (_equal, 1.0),
    "annealed epsilon": (_annealed, 1.0),
}


def _clipped(make: Any, rate: float, seed: int) -> Part:
    return Clip(CLIP, make(rate, seed))


def _sized(make: Any, rate: float, seed: int) -> Part:
    return Clip(CLIP, Graft(_adam(rate, seed), make(rate, seed)))


def _control(name: str) -> str:
    return f"Adam, sized as {name}"


def _grid(centre: float, n: int) -> tuple[float, ...]:
    return tuple(float(f"{centre * 10 ** (0.5 * (i - n // 2)):.4g}") for i in range(n))


def contests(scale: str) -> tuple[Contest, Contest]:
    """In the worlds, and on the twin of the first one."""
    setting: dict[str, Any] = {"seeds": 10, "tuning_seeds": 3}
    n = 5
    if scale == "tiny":
        worlds, rollouts, n = {"cart-pole": (PPO(envs=2, horizon=32), 20.0, 500.0)}, 3, 3
        setting = {"seeds": 3, "tuning_seeds": 1, "widen": 0}
    else:
        worlds: dict[str, Any] = {
            "cart-pole": (PPO(CartPole()), 20.0, 500.0),
            "acrobot": (PPO(Acrobot()), -500.0, -75.0),
        }
        rollouts = 120
    if scale == "gpu":
        robot = PPO(Gym("HalfCheetah-v4"), 1, 2048, 10, 32, entropy=0.0, normalize=True)
        worlds["half-cheetah"] = (robot, -300.0, 3000.0)
        rollouts, setting = 488, {"seeds": 32, "tuning_seeds": 8}
    events = tuple(Event(k, t, rollouts * t.period, low, high) for k, (t, low, high) in worlds.items())
    base = _grid(3e-3, n)
    special = [
        Arm(k, partial(_clipped, f), tuple(float(f"{r * by:.4g}") for r in base)) for k, (f, by) in SPECIAL.items()
    ]
    sized = [
        Arm(_control(k), partial(_sized, f), tuple(float(f"{r * by:.4g}") for r in base))
        for k, (f, by) in SPECIAL.items()
    ]
    plain = [
        Arm(ADAM, partial(_clipped, _adam), base),
        Arm(SGD, partial(_clipped, _descent), _grid(0.3, n)),
        Arm(SIGN, partial(_clipped, _signs), _grid(3e-4, n)),
    ]
    twin = Event("twin", Twin(events[0].task), events[0].steps, 2.0, 0.0, "loss")
    return Contest(events, (*plain, *special, *sized), **setting), Contest((twin,), (plain[0], *special), **setting)


def runs(scale: str, results: Results) -> list[Run]:
    """Tuning of every arm on each task, then its reporting seeds."""
    return [run for c in contests(scale) for run in c.runs(results)]


def expected(scale: str) -> int:
    """About how many runs there are, if no grid is widened."""
    real, twin = contests(scale)
    return real.expected + twin.expected + (len(real.events) > 1) * len(real.events) * len(real.arms) * real.seeds


def verdict(scale: str, results: Results) -> Findings:
    """Each method against Adam, against Adam of its own step sizes, and on the twin."""
    real, twin = contests(scale)
    level = 1 - 0.05 / len(SPECIAL)  # so that the largest of so many is not taken for a discovery
    found: dict[str, tuple[Finding, ...]] = {}
    tasks = " and ".join(e.name for e in real.events)
    for name in SPECIAL:
        statement = f"{name}, tuned, scores higher than a tuned Adam"
        gain = above(
            statement, real.against(name, ADAM, results, level), 0.0, UNIT, tasks, real.keys(results, name, ADAM)
        )
        control = _control(name)
        statement = f"{name} scores higher than Adam's direction with {name}'s step lengths"
        effect = real.against(name, control, results, level)
        beyond = above(statement, effect, 0.0, UNIT, tasks, real.keys(results, name, control))
        statement = f"{name} scores higher than a tuned Adam on the stationary twin too"
        still = above(
            statement, twin.against(name, ADAM, results, level), 0.0, UNIT, "twin", twin.keys(results, name, ADAM)
        )
        found[name] = (gain, beyond, still)
    best = max(found, key=lambda name: found[name][0].effect)
    others = [f for name, fs in found.items() for f in fs if name != best]
    plain = [
        above(
            f"Adam, tuned, scores higher than {name}, tuned",
            real.against(ADAM, name, results),
            0.0,
            UNIT,
            tasks,
            real.keys(results, ADAM, name),
        )
        for name in (SGD, SIGN)
    ]
    notes = [*real.notes(results), *twin.notes(results)]
    ties = real.ties(ADAM, SGD, results)
    if ties:
        notes.append(f"Tuned SGD ties tuned Adam on {' and '.join(ties)}: these tasks hardly tell optimizers apart.")
    return Findings(_answer(found, best), (*found[best], *others, *plain), tuple(notes))


def _answer(found: dict[str, tuple[Finding, ...]], best: str) -> str:
    special = [
        name
        for name, (gain, beyond, still) in found.items()
        if gain.verdict == beyond.verdict == SUPPORTED and still.verdict != SUPPORTED
    ]
    better = [name for name, fs in found.items() if fs[0].verdict == SUPPORTED]
    gain = found[best][0]
    size = f"the best of {len(found)}, {best}, differs by {gain.effect:.3f}"
    size += f" ({gain.interval[0]:.3f} to {gain.interval[1]:.3f})"
    if special:
        return f"Above a tuned Adam, beyond step sizes and not on the twin: {', '.join(special)}; {size}."
    if better:
        controls = "but none that the controls (step sizes, the twin) do not explain or leave open"
        return f"Above a tuned Adam: {', '.join(better)}, {controls}; {size}."
    return f"None of the methods made for reinforcement learning was found to beat a tuned Adam; {size}."


def figures(scale: str, results: Results) -> list[Any]:
    """Differences, curves, sensitivity, and the numbers, in the worlds and on the twin."""
    real, twin = contests(scale)
    names = [ADAM, SGD, SIGN, *SPECIAL]
    drawn: list[Any] = [scoreboard.differences(real, ADAM, results), scoreboard.differences(twin, ADAM, results)]
    for event in real.events:
        drawn += [scoreboard.curves(real, event, results, names), scoreboard.sensitivity(real, event, results, names)]
    drawn.append(scoreboard.sensitivity(twin, twin.events[0], results))
    return [*drawn, scoreboard.summary(real, ADAM, results), scoreboard.summary(twin, ADAM, results)]
