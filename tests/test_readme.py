"""What the README shows works: its claim gives a page, its loop trains, its commands exist."""

import re
import sys
from pathlib import Path

import pytest

from adamantine import __main__ as cli

TEXT = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_claim_of_ones_own_gives_a_page(tmp_path, capsys):
    file = tmp_path / "nesterov.py"
    file.write_text(next(b for b in BLOCKS if "def verdict" in b))
    sys.modules.pop("file_nesterov", None)
    with pytest.raises(SystemExit) as end:
        cli.main(["run", str(file), "--store", str(tmp_path / "s"), "--jobs", "1"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "Nesterov ends lower" in out
    assert (tmp_path / "s" / "reports" / "nesterov-laptop" / "index.html").stat().st_size > 500_000


@pytest.mark.parametrize("block", [b for b in BLOCKS if "def verdict" not in b], ids=["language", "module"])
def test_a_loop_of_ones_own_trains(block, capsys):
    exec(compile(block.replace("steps=100", "steps=12"), "README", "exec"), {})
    out = capsys.readouterr().out
    assert "Row(step=11, name='loss'" in out
    assert "Trained(step=12)" in out


def test_every_command_it_names_is_there():
    named = set(re.findall(r"^    adamantine (\w+)", TEXT, re.MULTILINE))
    assert named >= {"run", "report", "list", "show", "compact"}
    for word in named:
        assert cli.app[word], word
    targets = set(re.findall(r"\bmake (\w+)", TEXT))
    rules = set(re.findall(r"^(\w+):", (Path(__file__).parents[1] / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= targets <= rules
