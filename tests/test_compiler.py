"""Kernels are compiled once a machine; whatever goes wrong with that, the plain path steps without a word."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from test_inplace import close, functional, in_place, run

from adamantine import compiler, one_pass
from adamantine.optim.lr import Lr
from adamantine.optim.momentum import Ema
from adamantine.optim.second_moment import Rms

SOURCE = "long step(void) { return 41; }"
LOOK = f"from adamantine import compiler; print(compiler.library({SOURCE!r}).step())"
CC = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)

needs_compiler = pytest.mark.skipif(CC is None, reason="no C compiler on this machine")


def forget():
    for known in (compiler.compiler, compiler.library, compiler._machine, one_pass._function):
        known.cache_clear()


def temporary_in(patch, folder):
    """For kernels alone: pytest's capturing needs the real one."""
    patch.setattr(compiler, "tempfile", SimpleNamespace(gettempdir=lambda: str(folder)))


@pytest.fixture
def here(monkeypatch, tmp_path):
    """As a new process: no library loaded, an empty cache, and another empty folder for temporary files."""
    (tmp_path / "temporary").mkdir()
    with monkeypatch.context() as patch:
        patch.setenv("ADAMANTINE_CACHE", str(tmp_path / "cache"))
        temporary_in(patch, tmp_path / "temporary")
        patch.delenv("ADAMANTINE_COMPILE", raising=False)
        patch.delenv("CC", raising=False)
        forget()
        yield patch
    forget()


def program(path, text):
    path.write_text(text)
    path.chmod(0o700)
    return str(path)


def noting_compiler(folder):
    """A compiler that takes its time and notes every compilation in `folder/log`."""
    note = f'case "$*" in *" -o "*) echo compiled >> {folder}/log; sleep 0.3;; esac'
    return program(folder / "noting-cc", f'#!/bin/sh\n{note}\nexec {CC} "$@"\n')


def process(folder):
    given = {"CC": str(folder / "noting-cc"), "ADAMANTINE_CACHE": str(folder / "cache"), "TMPDIR": str(folder)}
    environment = {**os.environ, **given}
    environment.pop("ADAMANTINE_COMPILE", None)
    return subprocess.Popen([sys.executable, "-c", LOOK], env=environment, stdout=-1, stderr=-1, text=True)


def check_plain_step(capfd):
    """No library, the step of the functional update all the same, and not a word."""
    part = Ema(0.9) >> Rms(0.99) >> Lr(1e-2)
    w = {"a": torch.randn(5, 7, dtype=torch.float64)}
    assert compiler.library(SOURCE) is None
    mine = run(in_place, part, {k: x.clone() for k, x in w.items()}, torch.float64)
    close(mine, run(functional, part, w, torch.float64), 1e-12)
    assert capfd.readouterr() == ("", "")


@needs_compiler
def test_the_cache_serves_other_processes(tmp_path):
    noting_compiler(tmp_path)
    for _ in range(2):
        assert process(tmp_path).communicate(timeout=60) == ("41\n", "")
    assert (tmp_path / "log").read_text().split() == ["compiled"]
    assert [x.suffix for x in (tmp_path / "cache").iterdir()] == [".so"]


@needs_compiler
def test_processes_that_compile_at_once_do_not_meet(tmp_path):
    noting_compiler(tmp_path)
    both = [process(tmp_path) for _ in range(3)]
    assert [x.communicate(timeout=60) for x in both] == [("41\n", "")] * 3
    assert [x.suffix for x in (tmp_path / "cache").iterdir()] == [".so"]


@needs_compiler
def test_a_cache_that_cannot_be_written_gives_way_to_the_temporary_folder(here, tmp_path, capfd):
    (tmp_path / "file").touch()
    here.setenv("ADAMANTINE_CACHE", str(tmp_path / "file" / "cache"))
    assert compiler.library(SOURCE).step() == 41
    assert list((tmp_path / "temporary").glob("*/*.so"))
    assert capfd.readouterr() == ("", "")


@needs_compiler
def test_a_damaged_library_in_the_cache_is_passed_over(here, tmp_path, capfd):
    assert compiler.library(SOURCE).step() == 41
    (kept,) = (tmp_path / "cache").iterdir()
    kept.unlink()  # the bytes of a loaded library must stay
    kept.write_bytes(b"\x7fELF cut short")
    compiler.library.cache_clear()
    assert compiler.library(SOURCE).step() == 41
    assert capfd.readouterr() == ("", "")


def test_nowhere_to_write_gives_the_plain_path(here, tmp_path, capfd):
    (tmp_path / "file").touch()
    here.setenv("ADAMANTINE_CACHE", str(tmp_path / "file"))
    temporary_in(here, tmp_path / "file")
    check_plain_step(capfd)


@needs_compiler
def test_no_folder_for_temporary_files_matters_only_where_it_is_needed(here, tmp_path, capfd):
    def missing():
        raise FileNotFoundError("no usable temporary directory")

    here.setattr(compiler, "tempfile", SimpleNamespace(gettempdir=missing))
    assert compiler.library(SOURCE).step() == 41
    compiler.library.cache_clear()
    (tmp_path / "file").touch()
    here.setenv("ADAMANTINE_CACHE", str(tmp_path / "file"))
    check_plain_step(capfd)


def test_a_user_without_a_home_gets_the_temporary_folder(here, tmp_path, capfd):
    here.delenv("ADAMANTINE_CACHE")
    here.delenv("XDG_CACHE_HOME", raising=False)

    def missing(*given):
        raise RuntimeError("Could not determine home directory.")

    here.setattr(compiler.Path, "home", missing)
    assert (compiler.library(SOURCE) is None) == (CC is None)
    assert bool(list((tmp_path / "temporary").glob("*/*.so"))) == (CC is not None)


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\nexit 0\n", "no program", "#!/missing/shell\n"])
def test_a_compiler_that_does_not_work_gives_the_plain_path(text, here, tmp_path, capfd):
    here.setenv("CC", program(tmp_path / "broken-cc", text))
    assert compiler.compiler() == str(tmp_path / "broken-cc")
    check_plain_step(capfd)
    assert not list(tmp_path.glob("**/*.so"))


def test_the_command_false_as_compiler_gives_the_plain_path(here, capfd):
    here.setenv("CC", "false")
    check_plain_step(capfd)


def test_without_a_compiler_there_is_the_plain_path(here, tmp_path, capfd):
    here.setenv("PATH", str(tmp_path))
    assert compiler.compiler() is None
    check_plain_step(capfd)


def test_compiling_can_be_switched_off(here, capfd):
    here.setenv("ADAMANTINE_COMPILE", "0")
    assert compiler.compiler() is None
    check_plain_step(capfd)


def test_a_text_that_is_no_c_gives_none(here, capfd):
    assert compiler.library("no C at all") is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files here")
def test_a_folder_that_others_can_write_is_not_loaded_from(tmp_path, monkeypatch):
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(OSError, match="written by others"):
        compiler._own(shared)
    assert compiler._own(own) == own
    assert own.stat().st_mode & 0o077 == 0
