"""The figures of a watched run: curves with their bands, and numbers by tensor as heat maps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from adamantine.finding import Curve, Figure, Heat, finite
from adamantine.run import Row

Series = dict[int, float]  # value by step
LEVELS = {"edge": 1.0}  # a line to compare with
BESIDE = {"stability_threshold": "preconditioned_sharpness"}  # a number drawn in the figure of another
NULL = "_null"  # ends the name of what a number would be for noise alone
FEW = 6  # curves of one instrument that a figure holds; more are a heat map
WIDE = 30.0  # greatest over least, above which a scale is logarithmic


@dataclass
class Named:
    """All that was recorded as `name`: by step, with its errors, and the same by tensor, or by whatever follows `/`."""

    name: str
    values: Series = field(default_factory=dict)
    errors: Series = field(default_factory=dict)
    inside: dict[str, "Named"] = field(default_factory=dict)

    def at(self, sub: str) -> "Named":
        """What followed `name/`."""
        return self.inside.setdefault(sub, Named(f"{self.name}/{sub}"))


def gathered(rows: Iterable[Row]) -> dict[str, Named]:
    """The rows by name, in the order of their first appearance, with each `..._error` beside its value."""
    rows = list(rows)
    names = {r.name for r in rows} | {r.name.partition("/")[0] for r in rows}
    found: dict[str, Named] = {}
    for row in rows:
        base, _, sub = row.name.partition("/")
        error = False
        if base.endswith("_error") and base.removesuffix("_error") in names:
            base, error = base.removesuffix("_error"), True
        one = found.setdefault(base, Named(base))
        one = one.at(sub) if sub else one
        (one.errors if error else one.values)[row.step] = row.value
    return found


def figures(
    found: Mapping[str, Named], captions: Mapping[str, str], tensors: Sequence[str], key: str
) -> list[Figure | Heat]:
    """Training curves first, then the instruments: those with captions, which `captions` has by name."""
    training = [n for name, n in found.items() if name not in captions and _host(name, found) is None]
    losses = [n for n in training if "loss" in n.name and n.values]
    losses.sort(key=lambda n: n.name != "loss")
    out: list[Figure | Heat] = []
    if losses:
        caption = "The loss where it was measured, and what the loop recorded of it."
        out.append(_figure("Loss", caption, "loss", [_curve(n, n.name, lost=True) for n in losses], key))
    for n in training:
        if n not in losses and n.values:
            said = f"Recorded by the loop as {n.name!r}."
            out.append(_figure(_words(n.name), said, n.name, [_curve(n, n.name)], key))
        out += _inside(n, f"Recorded by the loop as {n.name!r}.", "", tensors, key)
    for name in captions:
        if name not in found or _host(name, found) is not None:
            continue
        n, unit = found[name], captions[name].partition("\n")[0]
        caption = _said(captions[name], n)
        if n.values:
            curves = [_curve(n, name), *(_dashed(x) for x in found.values() if _host(x.name, found) == name)]
            if name in LEVELS:
                curves.append(
                    Curve(f"{LEVELS[name]:g}", sorted(n.values), [LEVELS[name]] * len(n.values), style="dash")
                )
            out.append(_figure(_words(name), caption, _axis(unit, name), curves, key))
        out += _inside(n, caption, unit, tensors, key)
    return out


def _host(name: str, found: Mapping[str, Named]) -> str | None:
    """The number in whose figure this one is drawn."""
    host = BESIDE.get(name) or (name.removesuffix(NULL) if name.endswith(NULL) else None)
    return host if host is not None and host in found and found[host].values else None


def _inside(n: Named, caption: str, unit: str, tensors: Sequence[str], key: str) -> list[Figure | Heat]:
    """By tensor as a heat map, in the order of the network; by anything else as curves, while they are few."""
    if not n.inside:
        return []
    place = {k: i for i, k in enumerate(tensors)}
    if not place.keys() & n.inside.keys() and len(n.inside) <= FEW:
        curves = [_curve(x, k) for k, x in n.inside.items()]
        return [_figure(_words(n.name), caption, _axis(unit, n.name), curves, key)]
    order = sorted(n.inside, key=lambda k: place.get(k, len(place)))
    steps = sorted({s for x in n.inside.values() for s in x.values})
    values = tuple(tuple(n.inside[k].values.get(s, math.nan) for s in steps) for k in order)
    by = "by tensor" if place.keys() & n.inside.keys() else "in parts"
    what = "tensor" if by == "by tensor" else "part"
    title, flat = f"{_words(n.name)}, {by}", [v for row in values for v in row]
    return [
        Heat(
            title, caption, "step", what, tuple(steps), tuple(order), values, _axis(unit, n.name), _scale(flat), (key,)
        )
    ]


def _said(caption: str, n: Named) -> str:
    """The units, a line of their own, as a sentence before the others; what bands are, where there are any."""
    unit, _, rest = caption.partition("\n")
    unit = unit if unit.endswith(".") else f"{unit}."
    errors = n.errors or any(x.errors for x in n.inside.values())
    bands = "Bands reach to twice the error." if errors else ""
    unit = unit[:1].upper() + unit[1:] if unit[:2].isalpha() else unit  # a formula stays as it is
    return " ".join(x for x in (unit, rest, bands) if x)


def _figure(title: str, caption: str, y: str, curves: list[Curve], key: str) -> Figure:
    wide = _scale([v for c in curves for v in c.y]) == "log"
    if wide:  # a line would fall to the end of the axis at a 0
        curves = [replace(c, y=[math.nan if v == 0 else v for v in c.y]) for c in curves]
    return Figure(title, caption, "step", y, tuple(curves), y_scale="log" if wide else "linear", keys=(key,))


def _curve(n: Named, name: str, lost: bool = False) -> Curve:
    # Of a loss alone, infinity says that the run diverged; an instrument may well find it.
    steps = sorted(n.values)
    y = [n.values[s] if lost or finite(n.values[s]) else math.nan for s in steps]
    if not any(finite(e) for e in n.errors.values()):
        return Curve(name, list(steps), y)
    reach = [2 * n.errors.get(s, math.nan) for s in steps]
    low, high = ([v + sign * e for v, e in zip(y, reach, strict=True)] for sign in (-1, 1))
    return Curve(name, list(steps), y, low, high)


def _dashed(n: Named) -> Curve:
    found = _curve(n, n.name)
    return Curve(n.name, found.x, found.y, style="dash")


def _scale(values: list[Any]) -> str:
    """Logarithmic where all are positive (or 0) and far apart, diverging where some are negative, else linear."""
    known = [v for v in values if finite(v)]
    above = [v for v in known if v > 0]
    if known and min(known) < 0:
        return "diverging"
    return "log" if above and max(above) > WIDE * min(above) else "linear"


def _words(name: str) -> str:
    if "_" not in name and name[:1].isupper():  # the name of a class
        name = "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _axis(unit: str, name: str) -> str:
    short = unit.rpartition(";")[2].strip()
    return f"{name} [{short}]" if ";" in unit and len(short) < 20 and short[:4] not in ("a pu", "no u") else name
