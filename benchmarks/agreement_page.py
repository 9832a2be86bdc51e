"""The page docs/agreement.md: recipes by packages, then every call with its number and, if it differs, the reason."""

from collections.abc import Mapping, Sequence

HEAD = """# Which implementation agrees with which

Every optimizer here has three independent forms: the recipe of the package, a loop written from the paper
(`tests/textbook/`), and what other packages ship. This page says which of them are the same algorithm.

    make oracles                                # installs the packages that PyPI has, and tests against them
    python benchmarks/agreement.py --write      # measures all rows again and writes this page

**What is measured.** A small network with a tensor of every common role (`tests/problem.py`), the same first weights
and batches for all; each implementation steps along its own path for {steps} steps, with gradients at its own weights.
The number is ‖difference from where the textbook loop ends‖ / ‖distance that the loop moved‖, the largest over the nine
tensors. A row *agrees* below 1e-9 in float64. A row marked f32 ran in float32 (the package knows no other) and agrees
below ten times what rounding alone does to the textbook loop run in float32, or 3e-5. Numbers below their limit are
rounding and are printed as the limit.

A call names every hyperparameter that the recipe has too, so that values never differ; what it leaves out are the
package's own defaults. *With a flag* marks a call that sets more than that, where a switch gives the paper's rule.
*Unrounded* is no way to run the package: its casts to types narrower than float64 are left out, which shows whether
rounding is all that keeps it from the paper; such rows do not count in the matrix. Calls see the parameters as
`params`, with names as `named`, and apart as `hidden` (the matrices of the blocks, and the convolution seen as a
matrix) and `rest`.
"""


TAIL = """## Not here

- States in 8 and 4 bits: torchao and bitsandbytes keep tensors below 4,096 elements in float32, as all are here.
- heavyball's and pytorch_optimizer's PSGD, and all else that draws random numbers of its own: two right implementations
  differ. APOLLO and kron-torch are listed for the size of that difference alone.
- flashoptim runs on CUDA only; zij pins another torch; adopt-pytorch does not build. The authors' files of SOAP, Scion,
  SCALE, Dion and distributed Shampoo are not on PyPI.
"""
LEGEND = """`=` agrees in float64, `f32` in float32, `flag` only with a flag, `(≠)` one of its calls does not,
`≠ x` differs by x, `< x` is as close as the recipe's own test asks (SOAP's turned gradient has coordinates that are
rounding alone, which its small `eps` lets through). Empty: the package has no such optimizer, or none that is compared
here."""
MARKS = {"f32": "single", "*with a flag*": "flag", "*unrounded*": "exact"}


def cell(rows: Sequence) -> str:
    """The best that a package reaches: agreement, agreement with a flag, its distance, or that it fails."""
    plain = [x for x in rows if not x.peer.flag and not x.peer.exact]
    rows = [x for x in rows if not x.peer.exact]
    if any(x.agrees for x in rows):
        partly = any(not x.agrees for x in plain)
        single = all(x.peer.single for x in rows if x.agrees)
        with_flag = not any(x.agrees for x in plain)
        return (
            ("f32" if single else "=") + (" flag" if with_flag else "") + (" (≠)" if partly and not with_flag else "")
        )
    if all(x.absent for x in rows):
        return "absent"
    if all(x.failure or x.absent for x in rows):
        return "fails"
    return "≠ " + min((x for x in rows if x.number), key=lambda x: x.distance).number


def own_cell(distance: float, tolerance: float) -> str:
    """Our recipe's agreement, or the tolerance of its test where that is wider."""
    if distance < 1e-9:
        return "="
    return f"< {tolerance:.0e}" if distance < tolerance else f"≠ {distance:.2g}"


def matrix(outcomes: Sequence, own: Mapping[str, tuple[float, float]], recipes: Sequence[str]) -> list[str]:
    """One line a recipe, one column a package."""
    packages = list(dict.fromkeys(x.peer.package for x in outcomes))
    lines = ["| recipe | ours | " + " | ".join(packages) + " |", "|---" * (2 + len(packages)) + "|"]
    for name in recipes:
        mine = own_cell(*own[name]) if name in own else "no loop"
        cells = []
        for package in packages:
            rows = [x for x in outcomes if x.peer.recipe == name and x.peer.package == package]
            cells.append(cell(rows) if rows else "")
        lines.append(f"| {name} | {mine} | " + " | ".join(cells) + " |")
    return lines


def detail(outcomes: Sequence, recipe: str) -> list[str]:
    """Every call of one recipe."""
    rows = [x for x in outcomes if x.peer.recipe == recipe]
    lines = [f"### {recipe}", "", "| call | ours | number | verdict |", "|---|---|---|---|"]
    for x in rows:
        given = ", ".join(
            f"{k}={v!r}" for k, v in {**x.peer.given, **({"lr": x.peer.lr} if x.peer.lr != 0.01 else {})}.items()
        )
        marks = "".join(f" {text}" for text in MARKS if getattr(x.peer, MARKS[text]))
        lines.append(f"| `{x.peer.call.replace('|', chr(92) + '|')}`{marks} | {given} | {x.number} | {x.verdict} |")
    return [*lines, ""]


def page(
    outcomes: Sequence,
    own: Mapping[str, tuple[float, float]],
    recipes: Sequence[str],
    versions: Mapping[str, str],
    python: str,
    steps: int,
) -> str:
    """The whole of it; the same measurements give the same text."""
    alone = [k for k in recipes if k in own and not any(x.peer.recipe == k for x in outcomes)]
    bad = [x for x in outcomes if not x.agrees and not x.absent]
    lines = [
        HEAD.format(steps=steps),
        f"Python {python.rsplit('.', 1)[0]}, " + ", ".join(f"{k} {v}" for k, v in versions.items()) + ".",
        "",
        f"{len(outcomes)} calls of {len({x.peer.package for x in outcomes})} packages against {len(own)} recipes: "
        f"{sum(x.agrees for x in outcomes)} agree, {len(bad)} do not.",
        "",
        "## The matrix",
        "",
        LEGEND,
        "",
        *matrix(outcomes, own, recipes),
        "",
    ]
    if alone:
        lines += [f"Held against the textbook loop alone: {', '.join(alone)}.", ""]
    lines += ["## Every call", ""]
    for name in recipes:
        if any(x.peer.recipe == name for x in outcomes):
            lines += detail(outcomes, name)
    return "\n".join([*lines, TAIL]).rstrip() + "\n"
