"""The command `adamantine profile`: what a task asks of its optimizer, and the optimizer that follows."""

import dataclasses
import difflib
import importlib
import math
import pkgutil
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor
from torch.utils._pytree import tree_leaves

import adamantine
from adamantine.claim import Asked, ClaimError
from adamantine.engine import cores, execute
from adamantine.key import key_of
from adamantine.module import load_file
from adamantine.optim.adam import adam
from adamantine.optim.clip import Clip
from adamantine.part import Part
from adamantine.point import Task, stream
from adamantine.profiling.derived import derived, settings
from adamantine.profiling.observer import Observer
from adamantine.profiling.profile import Profile, profile_of
from adamantine.progress import Watch
from adamantine.result import Result
from adamantine.run import Run
from adamantine.store import Store
from adamantine.stored import STORE, StorePath
from adamantine.tasks.ppo import PPO
from adamantine.tasks.twin import Twin

NAMED = {
    "cartpole": "PPO(CartPole())",
    "acrobot": "PPO(Acrobot())",
    "mountaincar": "PPO(MountainCar())",
    "pendulum": "PPO(Pendulum(), 8, 256, entropy=0.0, normalize=True)",
    "halfcheetah": "PPO(Gym('HalfCheetah-v4'), 1, 2048, 10, 32, entropy=0.0, normalize=True)",
    "hopper": "PPO(Gym('Hopper-v4'), 1, 2048, 10, 32, entropy=0.0, normalize=True)",
    "cartpole-dqn": "DQN(CartPole())",
    "dials": "Dials(drift=0.1, held_out=1024)",
    "digits": "Images()",
    "language": "Language()",
}
PACKAGES = ("tasks", "control", "nets", "data")
RENEWALS = 60


def profile(
    task: str,
    *,
    seeds: Annotated[int, Parameter(help="Runs from which intervals are taken; at least 2.")] = 6,
    renewals: Annotated[int, Parameter(help="How often the objective changes in a run.")] = RENEWALS,
    rate: Annotated[float, Parameter(help="Rate of Adam, by which the task is trained meanwhile.")] = 1e-3,
    store: StorePath = STORE,
    jobs: Annotated[int | None, Parameter(help="Worker processes; as many as cores when not given.")] = None,
) -> int:
    """Profile TASK: a name such as cartpole or digits, a constructor call such as "PPO(Acrobot())", or file.py:NAME.

    Trains it by Adam, measures noise, drift, staleness, motion, feedback, rewards and representations, for a control
    task beside its stationary supervised twin, and shows the optimizer that follows.
    """
    console, place = Console(), Store(store)
    made = named(task)
    if seeds < 2 or renewals < 4 or not rate > 0:
        raise ClaimError("profile: seeds must be at least 2, renewals at least 4 and the rate above 0.")
    place.check()
    found = {"": _seen_apart(made)}
    if isinstance(made, PPO):
        found["twin"] = Twin(found[""])
    runs = {k: planned(t, _optimizer(t, rate), seeds, renewals) for k, t in found.items()}
    results = _executed([r for own in runs.values() for r in own], place, jobs or cores(), console)
    profiles = {k: read(found[k], [results[key_of(r)] for r in own], rate) for k, own in runs.items()}
    console.print(Text(repr(made), style="bold"))
    console.print(sheet(profiles))
    own = profiles[""]
    for group in own.groups:
        wanted = ", ".join(
            f"{k} {x:.4g}" if isinstance(x, float) else f"{k} {x}" for k, x in settings(own, group).items()
        )
        console.print(Text(f"{group}: {wanted}"))
    console.print(Text(f"derived: {derived(own)!r}"), soft_wrap=True)
    return 0


def planned(task: Any, part: Part, seeds: int, renewals: int) -> list[Run]:
    """Runs of `task` that an observer looks at wherever the objective has changed."""
    every = period(task)
    return [Run(task, part, every * renewals, seed, every=every, probes=(Observer(),)) for seed in range(seeds)]


def period(task: Any) -> int:
    """Steps between renewals; 10 where the objective never changes."""
    return int(getattr(task, "period", 10))


def read(task: Any, results: list[Result], rate: float) -> Profile:
    """The profile of `task` from finished runs. ClaimError where one diverged."""
    lost = next((r for r in results if not r.finished or r.why), None)
    if lost is not None:
        raise ClaimError(f"profile: a run {lost.status} ({lost.why.strip().splitlines()[-1]}); give a lower --rate.")
    steps = getattr(task, "task", task)
    horizon = math.nan
    if hasattr(steps, "gamma"):
        horizon = 1 / max(1 - steps.gamma * getattr(steps, "lam", 0.0), 1e-12)
    return profile_of(results, rate, _batch(task), period(task), horizon)


def named(text: str) -> Any:
    """The task that `text` means. ClaimError with the nearest names where it means none."""
    if ".py:" in text:
        file, _, name = text.rpartition(":")
        found = getattr(load_file(file), name, None)
        if not isinstance(found, Task):
            raise ClaimError(f"profile: {name!r} in {file!r} is not a task; a task has init, source, losses and score.")
        return found
    call = NAMED.get(text, text)
    known = {k: x for package in PACKAGES for m in _modules(package) for k, x in vars(m).items() if k[0].isupper()}
    try:
        found = eval(call, {"__builtins__": {}}, known)
    except (ValueError, TypeError, ImportError) as error:
        raise ClaimError(f"profile: {call} cannot be made: {error}") from error
    except (NameError, SyntaxError) as error:
        near = difflib.get_close_matches(text, [*NAMED, *known], 3, 0.4) or list(NAMED)
        raise ClaimError(f"profile: {text!r} is no task; near are {', '.join(near)}, or file.py:NAME.") from error
    if not isinstance(found, Task):
        raise ClaimError(f"profile: {call} is a {type(found).__name__}, not a task; give PPO({call}), say.")
    return found


def sheet(profiles: dict[str, Profile]) -> Table:
    """A line an estimate; the groups of each profile in columns."""
    out = Table(box=None, pad_edge=False, header_style="bold")
    out.add_column("")
    columns = [(k, g) for k, p in profiles.items() for g in (*p.groups, "task")]
    for k, g in columns:
        out.add_column(f"{g} ({k})" if k else g, overflow="fold")
    names = dict.fromkeys(n for p in profiles.values() for s in p.sections for n, _ in s.pairs)
    for name in names:
        cells = (str(dict(profiles[k][g].pairs).get(name, "")) for k, g in columns)
        out.add_row(name.replace("_", " "), *cells)
    return out


def _seen_apart(task: Any) -> Any:
    """With copies of the world that nothing is trained on, where the task offers them and has none."""
    if hasattr(task, "held_out") and hasattr(task, "world") and not task.held_out:
        return dataclasses.replace(task, held_out=2 * -(-task.envs // 2))
    return task


def _optimizer(task: Any, rate: float) -> Part:
    return Clip(0.5, adam(rate, eps=1e-5)) if isinstance(task, (PPO, Twin)) else adam(rate)


def _batch(task: Any) -> int:
    """Examples in one of its batches."""
    w = task.init(stream(0, "init"))
    return int(next(len(x) for x in tree_leaves(task.source(stream(0, "data"))(w)) if isinstance(x, Tensor)))


def _executed(runs: list[Run], store: Store, jobs: int, console: Console) -> dict[str, Result]:
    found = {r.key: r for r in store.results() if r.finished}
    missing = {key_of(r): r for r in runs if key_of(r) not in found}
    if not missing:
        return found
    with Watch(console, len(missing)) as watch:
        watch.see(Asked(missing))
        for event in execute([*missing.items()], store, jobs):
            watch.see(event)
            if isinstance(event, Result):
                found[event.key] = event
    return found


def _modules(package: str) -> list[Any]:
    root = importlib.import_module(f"{adamantine.__name__}.{package}")
    return [importlib.import_module(m.name) for m in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")]
