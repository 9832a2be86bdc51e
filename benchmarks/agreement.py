"""Which implementation of an optimizer follows its paper: every recipe against the textbook loop and other packages.

    python benchmarks/agreement.py [RECIPE ...] [--write]

Works with whatever packages are importable (`make oracles` installs those that PyPI has) and says what is missing;
`--write` writes docs/agreement.md. Measured on the network of tests/problem.py: the same first weights and batches,
each implementation steps along its own path, with gradients at its own weights. The number is the largest over the
tensors of the distance from where the textbook loop stands after 60 steps, over the distance that loop has moved.
"""

import argparse
import importlib.metadata
import math
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from peers import PEERS  # noqa: E402
from peers.peer import PACKAGES, Peer  # noqa: E402
from problem import Problem  # noqa: E402
from test_contract_parts import usual_rate  # noqa: E402
from test_textbook import CASES, LOOPS, RECIPES, STEPS, apart, ours  # noqa: E402

DOUBLE, SINGLE = 1e-9, 3e-5
PAGE = ROOT / "docs" / "agreement.md"


@dataclass(frozen=True)
class Outcome:
    """How far a peer is from the textbook loop, or why it did not run."""

    peer: Peer
    distance: float = float("nan")
    limit: float = DOUBLE
    absent: bool = False
    failure: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the distance is rounding."""
        return self.distance < self.limit

    @property
    def verdict(self) -> str:
        """In words."""
        if self.absent:
            return "not installed here"
        if self.failure:
            return f"fails: {self.failure}"
        if self.agrees:
            return "agrees to float32" if self.peer.single else "agrees"
        return f"differs: {self.peer.why or 'the reason is not known'}"

    @property
    def number(self) -> str:
        """The distance, no finer than another machine would give it."""
        return "" if self.absent or self.failure else shown(self.distance, self.limit)


def shown(x: float, limit: float) -> str:
    """Two digits; of rounding errors only the limit, to one digit upwards."""
    if not x < limit:
        return f"{x:.2g}"
    power = 10.0 ** math.floor(math.log10(limit))
    return f"< {math.ceil(limit / power - 1e-6) * power:.0e}"


@cache
def textbook(recipe: str, given: tuple, lr: float, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """Where the loop written from the paper ends."""
    start = {k: x.to(dtype) for k, x in Problem().start().items()}
    return {k: x.double() for k, x in LOOPS[recipe](Problem(), start, STEPS, lr, **dict(given)).items()}


def limit(peer: Peer) -> float:
    """What counts as rounding: 1e-9 in float64, ten times the distance of the loop's own float32 run, or 3e-5."""
    if not peer.single:
        return DOUBLE
    given = tuple(sorted(peer.given.items()))
    try:
        rounded = textbook(peer.recipe, given, peer.lr, torch.float32)
    except RuntimeError:  # the loop makes matrices of float64
        return SINGLE
    return max(SINGLE, 10 * apart(rounded, textbook(peer.recipe, given, peer.lr)))


def measure(peer: Peer) -> Outcome:
    """Run it, whatever it does."""
    try:
        w = peer.weights(STEPS)
    except ImportError:
        return Outcome(peer, absent=True)
    except Exception as e:
        return Outcome(peer, failure=f"{type(e).__name__}: {str(e).splitlines()[0][:120] if str(e) else ''}")
    theirs = textbook(peer.recipe, tuple(sorted(peer.given.items())), peer.lr)
    return Outcome(peer, apart(w, theirs), limit(peer))


def own_distance(recipe: str) -> tuple[float, float]:
    """Our recipe's distance from its loop at the usual rate, and the tolerance that its test has."""
    lr = usual_rate(RECIPES[recipe])
    tolerance = next((x["tol"] for x in CASES.get(recipe, []) if set(x) == {"tol"}), DOUBLE)
    return apart(ours(RECIPES[recipe](lr)), textbook(recipe, (), lr)), tolerance


def version(package: str) -> str:
    """Without the build's tag; empty where the package is not installed."""
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return ""


def main() -> None:
    ask = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ask.add_argument("recipes", nargs="*", help="names of recipes; all where none is given")
    ask.add_argument("--write", action="store_true", help="write docs/agreement.md")
    given = ask.parse_args()
    torch.set_num_threads(1)
    wanted = given.recipes or sorted(RECIPES)
    outcomes = []
    for peer in PEERS:
        if peer.recipe in wanted and peer.recipe in LOOPS and peer.recipe in RECIPES:
            outcomes.append(measure(peer))
            print(f"{peer.recipe:22} {outcomes[-1].distance:9.1e}  {outcomes[-1].verdict}\n{'':22} {peer.call}")
    missing = [k for k in PACKAGES if not version(k)]
    print("missing:", ", ".join(missing) or "none")
    if given.write:
        from agreement_page import page

        own = {k: own_distance(k) for k in sorted(RECIPES) if k in LOOPS}
        versions = {k: version(k) for k in PACKAGES if version(k)}
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(outcomes, own, sorted(RECIPES), versions, platform.python_version(), STEPS))


if __name__ == "__main__":
    main()
