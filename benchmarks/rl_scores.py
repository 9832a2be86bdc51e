"""Returns of the control tasks at CleanRL's settings, beside the published ones.

    python benchmarks/rl_scores.py [--only cartpole acrobot mountaincar cartpole-dqn halfcheetah hopper] [--seeds N]

Each number is the mean return of the last 100 training episodes of a run, averaged over seeds, with its standard
deviation; "published" is CleanRL's (Huang et al., JMLR 2022), three seeds. Results are kept in `--store`, and a run
that is there is not run again. With ", ends" an episode that is cut off counts as ended, as CleanRL has it. The robots
need the extra `mujoco`, a million steps each, and minutes for each seed.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from adamantine.control.acrobot import Acrobot
from adamantine.control.cart_pole import CartPole
from adamantine.control.gym import Gym
from adamantine.control.mountain_car import MountainCar
from adamantine.engine import execute
from adamantine.key import key_of
from adamantine.optim.adam import adam
from adamantine.optim.clip import Clip
from adamantine.optim.schedule import Linear
from adamantine.result import Result
from adamantine.run import Run
from adamantine.store import Store
from adamantine.tasks.dqn import DQN
from adamantine.tasks.ppo import PPO

console = Console(width=120)


@dataclass(frozen=True)
class Case:
    """A task, made when it is wanted: the robots need an extra."""

    make: Callable[[], PPO | DQN]
    env_steps: int
    seeds: int
    rate: float
    published: str


@dataclass(frozen=True)
class Ends:
    """`world` whose episodes end where they are cut off, as CleanRL takes them."""

    world: Gym

    def __getattr__(self, name):
        if name in ("observations", "actions", "size", "limit"):
            return getattr(self.world, name)
        raise AttributeError(name)

    def open(self, rngs, copies):
        """The same, but for that."""
        return Ending(self.world.open(rngs, copies))


class Ending:
    """Environments under way, of which none is ever cut off."""

    resumable = False

    def __init__(self, going):
        self.going, self.observation = going, going.observation

    def step(self, action):
        """Act; what is cut off has ended."""
        moved = self.going.step(action)
        self.observation = self.going.observation
        return moved._replace(ended=moved.ended | moved.truncated, truncated=moved.truncated & False)


def robot(name, ends=False):
    return PPO(Ends(Gym(name)) if ends else Gym(name), 1, 2048, 10, 32, entropy=0.0, normalize=True)


CASES = {
    "cartpole": Case(lambda: PPO(CartPole()), 500_000, 16, 2.5e-4, "490.04 +- 6.12"),
    "acrobot": Case(lambda: PPO(Acrobot()), 500_000, 16, 2.5e-4, "-86.36 +- 1.32"),
    "mountaincar": Case(lambda: PPO(MountainCar()), 500_000, 8, 2.5e-4, "-200.00 +- 0.00"),
    "cartpole-dqn": Case(lambda: DQN(CartPole()), 500_000, 16, 2.5e-4, "488.69 +- 16.11"),
    "halfcheetah": Case(lambda: robot("HalfCheetah-v4"), 1_000_000, 3, 3e-4, "1442.64 +- 46.03"),
    "halfcheetah, ends": Case(lambda: robot("HalfCheetah-v4", True), 1_000_000, 3, 3e-4, "1442.64 +- 46.03"),
    "hopper": Case(lambda: robot("Hopper-v4"), 1_000_000, 3, 3e-4, "2382.86 +- 271.74"),
    "walker2d": Case(lambda: robot("Walker2d-v4"), 1_000_000, 3, 3e-4, "2287.95 +- 571.78"),
    "invertedpendulum": Case(lambda: robot("InvertedPendulum-v4"), 1_000_000, 3, 3e-4, "963.09 +- 22.20"),
}
USUAL = ["cartpole", "acrobot", "mountaincar", "cartpole-dqn", "halfcheetah", "hopper"]


def runs(case, seeds):
    task = case.make()
    steps, annealed = task.steps(case.env_steps), Linear(warmup=0.0)
    part = adam(case.rate) if isinstance(task, DQN) else Clip(0.5, adam(case.rate, eps=1e-5, schedule=annealed))
    return [Run(task, part, steps, seed, every=max(1, steps // 100)) for seed in range(seeds or case.seeds)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=USUAL, choices=list(CASES))
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--store", type=Path, default=Path("rl-scores"))
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    store = Store(args.store)
    found = {r.key: r for r in store.results() if r.finished}
    table = Table("", "steps", "seeds", "return", "least", "at least 475", "published")
    for name in args.only:
        case = CASES[name]
        keyed = [(key_of(run), run) for run in runs(case, args.seeds)]
        with Bars(console=console, transient=True) as bars:
            bar = bars.add_task(name, total=keyed[0][1].steps)
            for event in execute([k for k in keyed if k[0] not in found], store, args.jobs):
                if isinstance(event, Result):
                    found[event.key] = event
                else:
                    bars.update(bar, completed=event.step)
        scores = [found[key].last("return") for key, _ in keyed]
        mean, spread = statistics.mean(scores), statistics.stdev(scores) if len(scores) > 1 else 0.0
        above = f"{sum(x >= 475 for x in scores)} of {len(scores)}" if name.startswith("cartpole") else ""
        cells = (f"{case.env_steps:,}", str(len(scores)), f"{mean:.2f} +- {spread:.2f}", f"{min(scores):.2f}")
        table.add_row(name, *cells, above, case.published)
        console.print(name, *cells, above, case.published)
    console.print(table)


if __name__ == "__main__":
    main()
