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
from pathlib import Path
from types import ModuleType
from typing import Any

SCHEMA = 1


def key_of(run: Any) -> str:
    """Sixteen hexadecimal digits that name `run`, a dataclass of data, dataclasses and named functions.

    Raises ValueError where a field holds something without an identity (a lambda, an open file).
    """
    modules: dict[str, ModuleType] = {}
    text = _canonical(run, modules, "run")
    code = [source_hash(m) for _, m in sorted(_reached(modules).items())]
    return hashlib.sha256("\0".join([str(SCHEMA), text, *code]).encode()).hexdigest()[:16]


def sources(run: Any) -> dict[str, str]:
    """The source text of every module the run's key covers, by module name: its code snapshot."""
    modules: dict[str, ModuleType] = {}
    _canonical(run, modules, "run")
    return {name: Path(str(m.__file__)).read_text() for name, m in sorted(_reached(modules).items())}


def _canonical(x: Any, modules: dict[str, ModuleType], where: str) -> str:
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


def _note(name: str, modules: dict[str, ModuleType]) -> None:
    module = sys.modules.get(name)
    if module is not None and _own(module):
        modules[name] = module


def _own(module: ModuleType) -> bool:
    """Whether the module's source belongs to this package or to the user, not to an installed library."""
    file = getattr(module, "__file__", None)
    if not file or not file.endswith(".py"):
        return False
    if module.__name__.split(".")[0] == __name__.split(".")[0]:
        return True
    installed = f"{os.sep}site-packages{os.sep}" in file
    return not installed and not file.startswith(str(Path(os.__file__).parent))


def _reached(modules: dict[str, ModuleType]) -> dict[str, ModuleType]:
    """The modules and everything of one's own that they import, however deep."""
    seen: dict[str, ModuleType] = {}
    todo = (
        [sys.modules["adamantine.run"], *modules.values()] if "adamantine.run" in sys.modules else [*modules.values()]
    )
    while todo:
        module = todo.pop()
        if module.__name__ in seen:
            continue
        seen[module.__name__] = module
        for name in _imports(str(module.__file__)):
            found = sys.modules.get(name)
            if found is not None and _own(found):
                todo.append(found)
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


def source_hash(module: ModuleType) -> str:
    """Hash of the module's syntax tree without comments, docstrings and positions.

    Read once a process: what runs is what was imported, whatever is edited meanwhile.
    """
    return _source_hash(str(module.__file__))


@functools.cache
def _source_hash(file: str) -> str:
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
