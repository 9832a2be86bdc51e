"""A user's Python file as a module, under a name that this process and its workers agree on."""

import importlib.util
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
        raise FileError(f"{str(path)!r} could not be imported:\n\n{own_traceback(error, file)}") from error
    return module


def own_traceback(error: BaseException, file: str | Path, lines: int = 25) -> str:
    """The last `lines` lines of the traceback, from the first frame inside `file` on."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, f in enumerate(frames) if f.filename == str(file)), 0)
    text = "".join(traceback.format_list(frames[first:]) + traceback.format_exception_only(error)).rstrip()
    kept = text.splitlines()
    return "\n".join(kept if len(kept) <= lines else ["  ...", *kept[-lines:]])
