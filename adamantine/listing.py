"""What the package contains, found by walking it: claims, tasks, parts, probes, assumptions and guarantees."""

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from types import ModuleType
from typing import Any

from adamantine.part import Part

KINDS = ("claims", "tasks", "parts", "recipes", "probes", "assumptions", "guarantees")
WHERE = {
    "claims": "claims",
    "tasks": "tasks",
    "parts": "optim",
    "recipes": "optim",
    "probes": "probes",
    "assumptions": "assume",
    "guarantees": "guarantees",
}
FACTS = {
    "assumptions": ("statement", "symmetry", "bound", "larger", "null", "refuted", "means"),
    "guarantees": ("statement", "source", "assumes", "bounds", "optimizer", "tight"),
}
SOURCE = re.compile(r"(?:arXiv:)?\d{4}\.\d{4,5}|math-ph/\d+|[A-Z][\w&. -]{2,60}? ?\(?\b(?:19|20)\d\d\)?")


@dataclass(frozen=True)
class Entry:
    """One thing: its name, where to import it from, what it is in a sentence, and its source in the literature."""

    name: str
    module: str
    what: str
    source: str


def entries(kind: str) -> list[Entry]:
    """Everything of one of `KINDS`, by name. Raises ValueError for another."""
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}; choose one of {', '.join(KINDS)}.")
    found = [e for module in _modules(f"adamantine.{WHERE[kind]}") for e in _inside(module, kind)]
    return sorted(found, key=lambda e: e.name.lower())


def entry(kind: str, name: str) -> tuple[Entry, str]:
    """The thing of this kind called `name`, and its whole documentation. Raises ValueError with the nearest names."""
    found = {e.name: e for e in entries(kind)}
    if name not in found:
        near = difflib.get_close_matches(name, found, 3, 0.4) or [*found]
        other = next((k for k in KINDS if any(e.name == name for e in entries(k))), None)
        there = f" {name} is one of the {other}: adamantine list {other} {name}." if other else ""
        raise ValueError(f"there is no {kind.removesuffix('s')} {name!r}; nearest: {', '.join(near)}.{there}")
    module = importlib.import_module(found[name].module)
    if kind == "claims":
        return found[name], inspect.getdoc(module) or ""
    thing = getattr(module, name)
    call = f"{name}{inspect.signature(thing)}".replace("adamantine.", "")
    facts = [f"{fact}: {getattr(thing, fact)}" for fact in FACTS.get(kind, ())]
    return found[name], "\n\n".join([call, inspect.getdoc(thing) or "", *facts])


def recipes() -> dict[str, Callable[..., Part]]:
    """Every named composition: functions of a rate and further hyperparameters, by name."""
    return {e.name: getattr(importlib.import_module(e.module), e.name) for e in entries("recipes")}


def _modules(package: str) -> Iterator[ModuleType]:
    root = importlib.import_module(package)
    for info in pkgutil.iter_modules(root.__path__, f"{package}."):
        yield importlib.import_module(info.name)


def _inside(module: ModuleType, kind: str) -> Iterator[Entry]:
    doc = inspect.getdoc(module) or ""
    if kind == "claims":
        yield Entry(module.__name__.split(".")[-1].replace("_", "-"), module.__name__, _first(doc), _source(doc))
        return
    for name, x in vars(module).items():
        if name.startswith("_") or getattr(x, "__module__", "") != module.__name__ or not _is(x, kind):
            continue
        own = inspect.getdoc(x) or ""
        source = getattr(x, "source", "") if kind in FACTS else _source(own) or _source(doc)
        yield Entry(name, module.__name__, _first(own), source)


def _is(x: Any, kind: str) -> bool:
    if kind == "parts":
        return isinstance(x, type) and issubclass(x, Part)
    if kind == "recipes":
        made = inspect.isfunction(x) and inspect.signature(x).return_annotation
        return isinstance(made, type) and issubclass(made, Part)
    if not (isinstance(x, type) and is_dataclass(x)):
        return False
    if kind == "tasks":
        return all(hasattr(x, m) for m in ("init", "source", "losses", "score"))
    return callable(x) and "__call__" in vars(x)


def _first(doc: str) -> str:
    return " ".join(doc.partition("\n\n")[0].split())


def _source(doc: str) -> str:
    found = (s.strip() for s in SOURCE.findall(" ".join(doc.split())))
    return ", ".join(dict.fromkeys(s if "(" in s else s.removesuffix(")") for s in found))
