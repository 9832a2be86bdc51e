"""From numbers of a profile to settings of an optimizer, in closed form. Each is a prediction that can fail.

Symbols: `n2` is the noise of a batch's gradient over its square, tr Sigma / (b |G|^2); `d2` the squared drift of the
gradient a step over |G|^2.
"""

import math

import numpy as np

LONGEST = 1000.0  # steps that a momentum averages at most


def momentum(n2: float, d2: float, kind: str = "line") -> float:
    """The coefficient of an average of `N = 1 / (1 - beta)` steps with the least error.

    Noise leaves `n2 / (2 N)` of it. Where the gradient moves on a straight line the average is `N d` late, an error of
    `N^2 d2`, and the best is `N = (n2 / (4 d2))^(1/3)`; where it walks at random the error is `N d2 / 2` and the best
    `N = sqrt(n2 / d2)`. Without drift `N` is 1000, without noise 1.
    """
    if n2 <= 0:
        return 0.0
    if d2 <= 0:
        return 1.0 - 1.0 / LONGEST
    best = (n2 / (4 * d2)) ** (1 / 3) if kind == "line" else math.sqrt(n2 / d2)
    return 1.0 - 1.0 / min(max(best, 1.0), LONGEST)


def overshoot(beta1: float, beta2: float, jump: float, steps: int = 400) -> float:
    """The longest of Adam's steps after the gradient, long settled at 1, has become `jump`; 1 is the settled step."""
    t = np.arange(1, steps + 1)
    m = jump + (1 - jump) * beta1**t
    v = jump**2 + (1 - jump**2) * beta2**t
    return float(max(1.0, (np.abs(m) / np.sqrt(v)).max()))


def second_moment(beta1: float, jump: float, budget: float = 2.0) -> float:
    """The slowest average of squares, up to 0.999, by which steps after a jump overshoot at most `budget`-fold.

    `beta2 = beta1` overshoots by 1 or little more; that is the answer where nothing slower keeps to the budget.
    """
    grid = [1 - 10**x for x in np.linspace(math.log10(1 - 0.999), math.log10(max(1 - beta1, 1e-3)), 60)]
    return next((float(b) for b in grid if overshoot(beta1, float(b), jump) <= budget), float(grid[-1]))


def rate(now: float, measured: float, wanted: float) -> float:
    """The rate at which a divergence that was `measured` at the rate `now` is as `wanted`: it grows with the square."""
    return now * math.sqrt(wanted / measured)


def floor(noise: float, batch: int, size: int) -> float:
    """Adam's epsilon: the root mean square of the noise in a coordinate of a batch's gradient, times 0.01.

    A coordinate whose squares lie below that floor is dead, and is stepped as by gradient descent.
    """
    return 0.01 * math.sqrt(noise / (batch * size))


def renewal(cosine_high: float) -> str:
    """What becomes of the momentum at a renewal: "reset" where gradients before and after are opposed, else "keep"."""
    return "reset" if cosine_high < 0 else "keep"


def batch(noise_scale: float) -> int:
    """Examples in a batch by which half of what a step could gain is lost to noise: the noise scale itself."""
    return max(1, round(noise_scale))
