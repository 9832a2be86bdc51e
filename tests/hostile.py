"""A page whose every name is written to break it, for the tests of the page with and without a browser."""

import math

from adamantine.finding import Curve, Figure, Finding, Findings, Gallery, Table

NAME = "</script><script>window.hit=1</script><img src=x onerror=window.hit=2> $x_1$ & 100% \"q\" 'p'"
KEYS = ("a" * 16, "b" * 16)


def finding(statement, verdict, effect, interval, task, n=5):
    return Finding(statement, verdict, effect, interval, "% of loss", n, "Supported if above 0.", task, keys=KEYS)


FINDINGS = Findings(
    f"Answer {NAME}",
    (
        finding(f"Chief {NAME}", "supported", 12.3456, (10.0, 14.0), "one"),
        finding(f"Chief {NAME}", "refuted", -3.0, (-4.0, -2.0), f"two {NAME}"),
        finding("Another (3 of 8 left out)", "inconclusive", math.inf, (-math.inf, math.inf), "one", 1),
        finding("Another", "supported", 1.0, (0.5, 1.5), f"two {NAME}"),
    ),
    (f"Note {NAME}",),
)
LINE = Curve("line", list(range(1, 41)), [1 / i for i in range(1, 41)], [0.5 / i for i in range(1, 41)], [2.0] * 40)
WILD = Curve(NAME, [1, 2, 3, 4], [1.0, 2.0, math.inf, math.nan], group=NAME, marks=[2])
BARS = tuple(Curve(f"loss {i}", ["a", NAME, "c"], [1.0, 2.0, 3.0], [0.5] * 3, [4.0] * 3, style="bar") for i in (1, 2))
ITEMS = (
    Figure(f"one: curves {NAME}", f"Caption {NAME}", "step", "loss", (LINE, WILD), y_scale="log", keys=KEYS),
    Figure("one: bars", "Bars.", "", "steps", BARS, x_scale="category", keys=KEYS),
    Gallery("Samples", "Images.", {f"real {NAME}": [[[0.0, 1.0], [0.5, 0.25]]], "made": [[[1.0, 0.0]] * 3]}),
    Table(
        f"one: table {NAME}",
        "Numbers.",
        ("arm", "loss", "count"),
        ((NAME, 1.5, 3), ("b", math.inf, 20), ("c", math.nan, 100), ("d", 1.0e-9, 7)),
        keys=KEYS,
    ),
)
RUNS = {
    KEYS[0]: {"spec": f"Run({NAME})", "status": "done", "seconds": 1.25},
    KEYS[1]: {"spec": "Run(b)", "status": "diverged", "seconds": None},
}
COMMAND = "adamantine run 'my claim.py' --scale tiny"
