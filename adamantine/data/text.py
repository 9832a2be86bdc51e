"""Text as bytes: the running interpreter's standard library by default, any file or folder by its path."""

import functools
import hashlib
import sysconfig
from pathlib import Path

SKIPPED = {"site-packages", "test", "tests", "idlelib", "__pycache__", "lib2to3"}


@functools.lru_cache(maxsize=8)
def load(path: str = "stdlib", limit: int = 2_000_000) -> bytes:
    """At most `limit` bytes of text: `.py` sources of the standard library for "stdlib", else the file or folder.

    A folder gives all its readable text files in the order of their names. Raises ValueError where there is
    nothing to read or the file is not text.
    """
    if path == "stdlib":
        root = Path(sysconfig.get_paths()["stdlib"])
        files = [f for f in sorted(root.rglob("*.py")) if not SKIPPED & set(f.relative_to(root).parts)]
    else:
        root = Path(path).expanduser()
        if not root.exists():
            raise ValueError(f"text {path!r}: there is no such file or folder.")
        files = [root] if root.is_file() else sorted(f for f in root.rglob("*") if f.is_file())
    parts, total = [], 0
    for f in files:
        data = f.read_bytes()[: limit - total]
        if b"\0" in data:
            if root.is_file():
                raise ValueError(f"text {path!r} holds zero bytes: it is not a text file.")
            continue
        parts.append(data)
        total += len(data)
        if total >= limit:
            break
    if not total:
        raise ValueError(f"text {path!r} is empty: give a file or folder with text in it.")
    return b"\n".join(parts)


def fingerprint(data: bytes) -> str:
    """Sixteen digits of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]
