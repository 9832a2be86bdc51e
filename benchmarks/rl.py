"""Many runs as one, beside a single agent and beside the same runs one by one.

    python benchmarks/rl.py [--only agents perceptrons] [--stacks 1 8 16 32 64] [--rounds 5]

agents       steps a second in cart-pole, over all agents, as a multiple of a single agent by Gymnasium's vector
             environment, torch.nn and torch.optim.Adam (`single_agent.py`), both on one thread; "on two cores" is
             two processes of as many agents each, as `adamantine run` has them
perceptrons  16 runs of a small perceptron on digits: steps a second stacked over one by one

Every round runs every contestant once, in a new order; figures are medians over rounds of the ratio within the round,
with the least and the largest. Run it on a quiet machine.
"""

import argparse
import multiprocessing
import random
import statistics
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from adamantine import stacked
from adamantine.optim.adam import adam
from adamantine.optim.clip import Clip
from adamantine.optim.schedule import Linear
from adamantine.run import Run
from adamantine.tasks.images import Images
from adamantine.tasks.ppo import PPO

sys.path.insert(0, str(Path(__file__).parent))
console = Console(width=110)


def agents(n, env_steps, first=0):
    """Steps a second of `n` agents as one."""
    task = PPO()
    parts = [Clip(0.5, adam(2.5e-4 * (1 + i % 4), eps=1e-5, schedule=Linear(warmup=0.0))) for i in range(n)]
    runs = [Run(task, part, task.steps(env_steps), first + i, every=16) for i, part in enumerate(parts)]
    start = time.perf_counter()
    for _ in stacked.events(runs):
        pass
    return n * task.steps(env_steps) // 16 * 512 / (time.perf_counter() - start)


def one_core(n, env_steps, first, started, told):
    torch.set_num_threads(1)
    agents(2, 1024)
    started.wait()
    told.put(agents(n, env_steps, first))


def two_cores(n, env_steps):
    """The same in two processes, counted from when both are ready."""
    context = multiprocessing.get_context("spawn")
    started, told = context.Barrier(2), context.Queue()
    crew = [context.Process(target=one_core, args=(n, env_steps, n * i, started, told)) for i in range(2)]
    for process in crew:
        process.start()
    found = [told.get() for _ in crew]
    for process in crew:
        process.join()
    return sum(found)


def peer(env_steps):
    from single_agent import train

    start = time.perf_counter()
    steps, _ = train(env_steps)
    return steps / (time.perf_counter() - start)


def perceptrons(n, steps, together):
    """Steps a second of `n` perceptrons."""
    runs = [Run(Images(), adam(1e-3 * (1 + i % 4)), steps, i, every=steps) for i in range(n)]
    start = time.perf_counter()
    for _ in stacked.events(runs) if together else (e for run in runs for e in run.events()):
        pass
    return n * steps / (time.perf_counter() - start)


def rounds(contestants, times):
    """Speeds by contestant, a list over rounds."""
    found = {name: [] for name in contestants}
    for k in range(times + 1):
        for name in random.Random(k).sample(list(contestants), len(contestants)):
            speed = contestants[name]()
            if k:  # the first round warms up
                found[name].append(speed)
    return found


def table(title, found, reference):
    out = Table("", "a second", f"times {reference}", "least", "largest", title=title)
    for name, speeds in found.items():
        ratios = [a / b for a, b in zip(speeds, found[reference], strict=True)]
        cells = (f"{statistics.median(speeds):,.0f}", *(f"{f(ratios):.2f}" for f in (statistics.median, min, max)))
        out.add_row(name, *cells)
    console.print(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=["agents", "perceptrons"])
    parser.add_argument("--stacks", nargs="*", type=int, default=[1, 8, 16, 32, 64])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if "agents" in args.only:
        contestants = {"single agent": lambda: peer(8192)}
        contestants |= {f"{n} as one": lambda n=n: agents(n, 8192) for n in args.stacks}
        contestants |= {"2 x 32 on two cores": lambda: two_cores(32, 8192)}
        table("Proximal policy optimization, steps in cart-pole", rounds(contestants, args.rounds), "single agent")
    if "perceptrons" in args.only:
        contestants = {"one by one": lambda: perceptrons(16, 1000, False)}
        contestants |= {"16 as one": lambda: perceptrons(16, 1000, True)}
        table("16 perceptrons on digits, steps", rounds(contestants, args.rounds), "one by one")


if __name__ == "__main__":
    main()
