"""The identity of a run: a hash over its spec and the syntax tree of the code it names.

A comment, a docstring or the layout of the source does not change a key; any other change to a module
that the run uses, however indirectly, does, so that changed code never returns stale results.
"""

import ast
import dataclasses
import functools
import hashlib
import inspect
import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

SCHEMA = 1


def key_of(run: Any) -> str:
    """Sixteen hexadecimal digits that name `run`, a dataclass of data, dataclasses and named functions.

    Raises ValueError where a field holds something without an identity (a lambda, an open file).
    """
    modules: dict[str, str] = {}
    text = _canonical(run, modules, "run")
    code = [source_hash(file) for _, file in sorted(_reached(modules).items())]
    return hashlib.sha256("\0".join([str(SCHEMA), text, *code]).encode()).hexdigest()[:16]


def sources(run: Any) -> dict[str, str]:
    """The source text of every module the run's key covers, by module name: its code snapshot."""
    modules: dict[str, str] = {}
    _canonical(run, modules, "run")
    return {name: Path(file).read_text() for name, file in sorted(_reached(modules).items())}


def _canonical(x: Any, modules: dict[str, str], where: str) -> str:
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        kind = type(x)
        _note(kind.__module__, modules)
        body = ",".join(
            f"{f.name}={_canonical(getattr(x, f.name), modules, f'{where}.{f.name}')}"
            for f in dataclasses.fields(x)
            if f.compare
        )
        fingerprint = getattr(x, "fingerprint", None)
        print_of_data = f"#{fingerprint()}" if fingerprint else ""
        return f"{kind.__module__}.{kind.__qualname__}({body}){print_of_data}"
    if isinstance(x, (tuple, list)):
        return "(" + ",".join(_canonical(y, modules, f"{where}[{i}]") for i, y in enumerate(x)) + ")"
    if isinstance(x, dict):
        return "{" + ",".join(f"{k!r}:{_canonical(y, modules, f'{where}[{k!r}]')}" for k, y in x.items()) + "}"
    if x is None or isinstance(x, (bool, int, float, str, bytes)):
        return repr(x)
    if inspect.isfunction(x) or isinstance(x, type):
        if "<" in x.__qualname__:
            raise ValueError(
                f"{where}: {x.__qualname__} has no identity that outlives this process; use a function "
                "named at the top of a module, or a frozen dataclass with `__call__`."
            )
        _note(x.__module__, modules)
        return f"{x.__module__}:{x.__qualname__}"
    if hasattr(x, "fingerprint"):
        _note(type(x).__module__, modules)
        return f"{type(x).__qualname__}#{x.fingerprint()}"
    raise ValueError(
        f"{where}: {type(x).__name__} has no identity; a run's fields are numbers, strings, tuples, frozen "
        "dataclasses and named functions."
    )


def _note(name: str, modules: dict[str, str]) -> None:
    file = _own(name, sys.modules.get(name))
    if file is not None:
        modules[name] = file


def _own(name: str, module: ModuleType | ModuleSpec | None) -> str | None:
    """The module's file, if its source belongs to this package or to the user, not to an installed library."""
    file = module.origin if isinstance(module, ModuleSpec) else getattr(module, "__file__", None)
    if not file or not file.endswith(".py"):
        return None
    if name.split(".")[0] == __name__.split(".")[0]:
        return file
    installed = f"{os.sep}site-packages{os.sep}" in file
    return None if installed or file.startswith(str(Path(os.__file__).parent)) else file


def _file(name: str) -> str | None:
    """Where one's own module `name` lies, imported yet or not: a function may import it later, in some process."""
    module = sys.modules.get(name)
    return _own(name, module) if module is not None else _unloaded(name)


@functools.cache
def _unloaded(name: str) -> str | None:
    head = name.split(".")[0]
    try:
        # A library's modules are not looked for: that would import its packages.
        return _own(name, find_spec(name)) if head == name or _file(head) else None
    except (ImportError, ValueError, AttributeError):
        return None  # a name inside a module


def _reached(modules: dict[str, str]) -> dict[str, str]:
    """The modules and everything of one's own that they import, however deep, with their files."""
    seen: dict[str, str] = {}
    todo = list(modules)
    if "adamantine.run" in sys.modules:
        todo.append("adamantine.run")
    while todo:
        name = todo.pop()
        file = modules.get(name) or _file(name)
        if name in seen or file is None:
            continue
        seen[name] = file
        todo += _imports(file)
    return seen


@functools.cache
def _imports(file: str) -> tuple[str, ...]:
    names = []
    for node in ast.walk(ast.parse(Path(file).read_text())):
        if isinstance(node, ast.Import):
            names += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
    return tuple(names)


@functools.cache
def source_hash(file: str) -> str:
    """Hash of the syntax tree of a module's file, without comments, docstrings and positions.

    Read once a process: what runs is what was imported, whatever is edited meanwhile.
    """
    syntax = ast.parse(Path(file).read_text())
    for node in ast.walk(syntax):
        body = getattr(node, "body", None)
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            node.body = body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(syntax).encode()).hexdigest()
