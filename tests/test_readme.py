"""What the README shows works: its claim gives a page, its loop trains, its commands exist."""

import math
import re
import sys
from pathlib import Path

import pytest
import torch

from adamantine import __main__ as cli
from adamantine.recipes import recipes
from adamantine.report import periodic
from adamantine.run import Run
from adamantine.tasks.images import Images

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


@pytest.mark.parametrize("block", [b for b in BLOCKS if ".events()" in b], ids=["language", "module"])
def test_a_loop_of_ones_own_trains(block, capsys):
    exec(compile(block.replace("steps=100", "steps=12"), "README", "exec"), {})
    out = capsys.readouterr().out
    assert "Row(step=11, name='loss'" in out
    assert "Trained(step=12)" in out


def test_the_blocks_about_optimizers_run_one_after_another(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict = {}
    for block in BLOCKS:
        if ".events()" not in block and "def verdict" not in block:
            exec(compile(block, "README", "exec"), names)
    assert float(names["loss"].detach()) < math.log(50)
    assert "output" in capsys.readouterr().out
    assert names["page"].exists()
    assert names["tags"]["2.weight"].role == "head"
    Run(Images(), names["theirs"].make(1e-3, 0), steps=2)
    Run(Images(), names["slower_head"], steps=2)


def test_the_drawing_has_every_recipe():
    drawn = (Path(__file__).parents[1] / "docs" / "optimizers.svg").read_text()
    assert drawn == periodic.svg(recipes()), "draw it again: adamantine list recipes --draw docs/optimizers.svg"


def test_links_and_files_it_names_are_there():
    root = Path(__file__).parents[1]
    links = [x for x in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in x]
    for path in [*links, *re.findall(r"python ((?:benchmarks|examples)/\S+)", TEXT)]:
        assert (root / path).exists(), path


def test_every_command_it_names_is_there():
    named = set(re.findall(r"^    adamantine (\w+)", TEXT, re.MULTILINE))
    assert named >= {"run", "report", "list", "show", "compact"}
    for word in named:
        assert cli.app[word], word
    targets = set(re.findall(r"\bmake (\w+)", TEXT))
    rules = set(re.findall(r"^(\w+):", (Path(__file__).parents[1] / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= targets <= rules
