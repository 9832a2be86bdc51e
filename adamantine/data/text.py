"""Text as bytes: the interpreter's standard library by default, any file or folder, any Hugging Face data set."""

import functools
import hashlib
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}
# Every byte above 31, and the control characters that texts contain.
TEXT = bytes([7, 8, 9, 10, 12, 13, 27, *range(32, 127), *range(128, 256)])
HELD_OUT = 10

Sliceable = TypeVar("Sliceable", bound=Any)


@functools.lru_cache(maxsize=8)
def load(path: str = "stdlib", limit: int = 2_000_000) -> bytes:
    """At most `limit` bytes of text, the same every time.

    "stdlib": the running interpreter's `.py` files (its tests and installed packages aside), in the order of the
    hash of their names, so that any stretch is a fair sample of them. A file: its beginning. A folder: its text
    files in the order of their paths, hidden and binary ones left out. "hf:NAME[:split[:column]]": a Hugging
    Face data set, see `_hugging_face`. Raises ValueError where there is no text to be had.
    """
    if limit < 1:
        raise ValueError(f"text {path!r}: limit is {limit}; at least one byte must be read.")
    if path.startswith("hf:"):
        data = _joined(_hugging_face(path), limit)
    elif path == "stdlib":
        root = Path(sysconfig.get_paths()["stdlib"])
        files = {f.relative_to(root).as_posix(): f for f in root.rglob("*.py")}
        names = [n for n in files if not SKIPPED & set(n.split("/"))]
        names.sort(key=lambda n: (hashlib.sha256(n.encode()).digest(), n))
        data = _joined((_read(files[n], limit) for n in names), limit)
    else:
        data = _from_disk(path, limit)
    if not data.strip():
        raise ValueError(f"text {path!r} is empty: give a file or folder with text in it.")
    return data


def split(data: Sliceable) -> tuple[Sliceable, Sliceable]:
    """`(train, held out)`: the first nine tenths and the last tenth of a sequence, which share nothing."""
    cut = len(data) - len(data) // HELD_OUT
    return data[:cut], data[cut:]


def fingerprint(data: bytes) -> str:
    """The SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _from_disk(path: str, limit: int) -> bytes:
    root = Path(path).expanduser()
    if not root.exists():
        raise ValueError(f'text {path!r}: there is no such file or folder; give one, or "stdlib".')
    if root.is_file():
        data = _read(root, limit)
        if _binary(data):
            raise ValueError(f"text {path!r} is a binary file: give a text file, in UTF-8 rather than UTF-16.")
        return data
    inside = sorted((f.relative_to(root).as_posix(), f) for f in root.rglob("*") if f.is_file())
    shown = (f for name, f in inside if not any(part.startswith(".") for part in name.split("/")))
    data = _joined((x for f in shown if not _binary(x := _read(f, limit))), limit)
    if not data:
        raise ValueError(f"text {path!r}: there is no text file in this folder; give another.")
    return data


def _read(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as f:
            return f.read(limit)
    except OSError as error:
        raise ValueError(f"text {str(file)!r} cannot be read ({error.strerror}); mend its rights.") from error


def _binary(data: bytes) -> bool:
    """Zero bytes, or more than one control character in twenty."""
    return b"\0" in data or 20 * len(data.translate(None, TEXT)) > len(data)


def _joined(parts: Iterable[bytes], limit: int) -> bytes:
    out, total = [], 0
    for part in parts:
        if not part:
            continue
        out.append(part)
        total += len(part) + 1
        if total > limit:
            break
    return b"\n".join(out)[:limit]


def _hugging_face(path: str) -> Iterable[bytes]:
    """The strings of "hf:NAME[:split[:column]]", split "train" and the column "text" or the first that holds strings.

    NAME is a data set of the hub (`owner/name`, or `owner/name/configuration`), streamed and so read only as far
    as needed, or a folder written by `save_to_disk`, which needs no network. Raises ImportError without the
    `hf` extra, ValueError where the data set, split or column is not there.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"text {path!r} needs the Hugging Face extra: pip install 'adamantine[hf]'.") from error
    name, part, column, *rest = [*path[3:].split(":"), "", "", ""][: path.count(":") + 3]
    if not name or any(rest):
        raise ValueError(f"text {path!r}: a Hugging Face data set is written hf:NAME[:split[:column]].")
    asked, part = part, part or "train"
    try:
        if Path(name).expanduser().is_dir():
            data = datasets.load_from_disk(str(Path(name).expanduser()))
            if isinstance(data, dict):
                data = data[part]
            elif asked and data.split not in (None, asked):
                raise KeyError(f"it holds {data.split}")
        else:
            owner, configuration = "/".join(name.split("/")[:2]), "/".join(name.split("/")[2:]) or None
            data = datasets.load_dataset(owner, configuration, split=part, streaming=True)
    except (OSError, KeyError, ValueError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"text {path!r}: the data set or its split {part!r} was not found ({why}); check both names."
        ) from error
    rows = iter(data)
    first = next(rows, {})
    # A first row without a value says nothing about its column.
    kinds = {k: getattr(x, "dtype", None) for k, x in (getattr(data, "features", None) or {}).items()}
    strings = [k for k, x in first.items() if isinstance(x, str) or kinds.get(k) in ("string", "large_string")]
    column = column or ("text" if "text" in strings else (strings or [""])[0])
    if column not in strings:
        raise ValueError(
            f"text {path!r}: column {column!r} holds no strings; choose one of {', '.join(strings) or 'none'}."
        )
    return ((row[column] or "").encode() for row in _chained(first, rows))


def _chained(first: Any, rest: Iterable[Any]) -> Iterable[Any]:
    yield first
    yield from rest
