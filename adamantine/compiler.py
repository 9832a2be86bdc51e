"""C text to a loaded library: compiled once a machine, kept in a cache folder, absent where there is no compiler."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-x", "c", "-std=c11")
# The widest first: OpenMP is not everywhere.
VARIANTS = (("-fopenmp",), ())


def folder() -> Path:
    """Where compiled kernels lie: `$ADAMANTINE_CACHE`, else `adamantine` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ADAMANTINE_CACHE") or Path(home) / "adamantine")


@functools.cache
def compiler() -> str | None:
    """The C compiler: `$CC`, else cc, gcc or clang; None where there is none, or where `ADAMANTINE_COMPILE=0`."""
    if os.environ.get("ADAMANTINE_COMPILE") == "0":
        return None
    names = [os.environ.get("CC") or "cc", "gcc", "clang"]
    return next((found for name in names if (found := shutil.which(name))), None)


@functools.cache
def _machine() -> str:
    """What a native binary depends on: processor features and the compiler's version."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next((x for x in lines if x.startswith(("flags", "Features"))), "")
    except OSError:
        features = platform.processor()
    version = subprocess.run([str(compiler()), "--version"], capture_output=True, text=True, check=False).stdout
    return f"{platform.machine()}{features}{version}{FLAGS}"


@functools.cache
def library(source: str) -> ctypes.CDLL | None:
    """The library of this source text, or None where it cannot be had; never raises."""
    cc = compiler()
    if cc is None:
        return None
    for place in (folder, _temporary):
        try:
            key = hashlib.sha256(f"{_machine()}\0{source}".encode()).hexdigest()[:24]
            path = _own(place()) / f"{key}.so"
            if not path.exists():
                _build(cc, source, path)
            return ctypes.CDLL(str(path))
        except (OSError, RuntimeError):
            # No compiler that works, no home, or a folder that cannot be written: the next, or the plain path.
            continue
    return None


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"adamantine-{os.getuid() if hasattr(os, 'getuid') else 0}"


def _own(place: Path) -> Path:
    """The folder, made when needed. OSError where somebody else could have put a library there to be loaded."""
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = place.stat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        raise OSError(f"{place} can be written by others")
    return place


def _build(cc: str, source: str, path: Path) -> None:
    # Aside and renamed: other processes may be compiling the same text.
    aside = path.with_suffix(f".{os.getpid()}")
    try:
        for variant in VARIANTS:
            command = [cc, *FLAGS, *variant, "-o", str(aside), "-", "-lm"]
            if not subprocess.run(command, input=source.encode(), capture_output=True, check=False).returncode:
                aside.replace(path)
                return
        raise OSError(f"{cc} could not compile the kernel")
    finally:
        aside.unlink(missing_ok=True)
