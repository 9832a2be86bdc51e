"""A user's Python file as a module, under a name that this process and its workers agree on."""

import contextlib
import difflib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType


class FileError(Exception):
    """A file that could not be imported; the message is its own error, one screen long."""


def load_file(path: str | Path) -> ModuleType:
    """Import the file at `path` as `file_<stem>`, once; what it imports from its own folder is found there.

    Raises FileError where there is no such file, or with the file's own traceback where it fails.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise FileError(f"there is no file {str(path)!r}.")
    name = f"file_{file.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(file):
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise FileError(f"{str(path)!r} is not a Python file: a claim's name ends in .py.")
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        trace = own_traceback(error, file)
        raise FileError(f"{str(path)!r} could not be imported:\n\n{trace}{_nearest(error)}") from error
    return module


def _nearest(error: BaseException) -> str:
    """A sentence with the nearest names, where the file asked this package for one that it does not have."""
    own = __name__.split(".")[0]
    if not isinstance(error, ImportError) or (error.name or "").split(".")[0] != own or not error.name:
        return ""
    if isinstance(error, ModuleNotFoundError):
        parent, _, wanted = error.name.rpartition(".")
        with contextlib.suppress(ImportError):
            there = [m.name for m in pkgutil.iter_modules(importlib.import_module(parent).__path__)]
            return _named(wanted, there, f"modules of {parent}")
        return ""
    wanted = str(error).partition("cannot import name ")[2].split("'")[1:2]
    there = [n for n in vars(sys.modules[error.name]) if not n.startswith("_")]
    return _named(wanted[0], there, f"names in {error.name}") if wanted else ""


def _named(wanted: str, there: list[str], what: str) -> str:
    near = difflib.get_close_matches(wanted, there, 3, 0.4) or sorted(there)
    return f"\n\nthe nearest {what}: {', '.join(near)}."


def own_traceback(error: BaseException, file: str | Path, lines: int = 25) -> str:
    """The last `lines` lines of the traceback, from the first frame inside `file` on."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, f in enumerate(frames) if f.filename == str(file)), 0)
    text = "".join(traceback.format_list(frames[first:]) + traceback.format_exception_only(error)).rstrip()
    kept = text.splitlines()
    return "\n".join(kept if len(kept) <= lines else ["  ...", *kept[-lines:]])
