"""The layout is kept: imports point down, siblings apart, files short and documented, no catch-all modules."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "adamantine"
# Who may import whom: a module may import anything in an earlier layer, and its own package where it is listed.
LAYERS = [
    {"tree", "symmetry", "compiler", "pieces"},
    {"derivatives", "restricted", "per_example", "response"},
    {"jacobian"},
    {"point", "kernel", "live"},
    {"part", "packed"},
    {"kernel_text", "route"},
    {"role", "one_pass", "until", "named_state", "sharded", "slots"},
    {"inplace", "tag_layers", "cohorts"},
    {"tag_probe"},
    {"tag_blocks"},
    {"tagger"},
    {"tag_table"},
    {"nets", "data", "control", "closure", "solvers", "autodiff", "torch_state"},
    {"optim", "tasks", "probes"},
    {"assume", "guarantees"},
    {"listing", "composition", "rated"},
    {"recipes", "request", "saved"},
    {"run", "for_torch", "lanes"},
    {"stacked"},
    {"key"},
    {"result"},
    {"stats", "finding", "tune", "module", "checkpoint", "parquet"},
    {"evidence", "comparison", "scores", "store"},
    {"contest"},
    {"panels", "scoreboard", "profiling", "work", "landscape", "explaining", "retest", "whole"},
    {"checking", "tightness"},
    {"engine"},
    {"report", "claims"},
    {"claim", "watching"},
    {"progress", "catalogue", "watched", "stored"},
    {"profiled", "checked"},
    {"__main__"},
]
WITHIN = {
    "autodiff",
    "nets",
    "data",
    "control",
    "optim",
    "tasks",
    "probes",
    "profiling",
    "assume",
    "guarantees",
    "explaining",
    "checking",
    "report",
    "finding",
    "parquet",
    "solvers",
    "per_example",
    "watching",
}
FORBIDDEN = {"utils", "util", "misc", "common", "helpers", "base", "core"}
LONGEST = 250
LONGEST_CLAIM = 350  # a claim is one file, figures and all


def files(root=ROOT):
    return sorted(root.rglob("*.py"))


def unit(path, root=ROOT):
    first = path.relative_to(root).parts[0]
    return first.removesuffix(".py")


def rank(name):
    return next((i for i, layer in enumerate(LAYERS) if name in layer), None)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: relative import"
            if node.module == "adamantine":
                yield from (a.name for a in node.names)
            elif node.module and node.module.startswith("adamantine."):
                yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("adamantine."))


def broken_imports(path, root=ROOT):
    """Sentences about imports of `path` that point sideways or up."""
    own = unit(path, root)
    if own == "__init__":
        return []
    out = []
    for other in imports(path):
        if rank(other) is None:
            out.append(f"{path.name} imports {other}, which has no layer")
        elif other == own and own in WITHIN:
            continue
        elif rank(other) >= rank(own) and not (own == "assume" and other == "probes"):
            out.append(f"{path.name} ({own}) imports {other}: imports point down and siblings stay apart")
    return out


def test_every_module_has_a_layer():
    assert {unit(f) for f in files()} - {"__init__"} <= set().union(*LAYERS)


@pytest.mark.parametrize("path", files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_down(path):
    assert broken_imports(path) == []


def test_a_sibling_import_is_seen(tmp_path):
    (tmp_path / "optim").mkdir()
    bad = tmp_path / "optim" / "peeking.py"
    bad.write_text("from adamantine.tasks.language import Language\n")
    assert broken_imports(bad, tmp_path)
    up = tmp_path / "tree.py"
    up.write_text("import adamantine.run\n")
    assert broken_imports(up, tmp_path)


@pytest.mark.parametrize("path", files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_short_and_documented(path):
    text = path.read_text()
    longest = LONGEST_CLAIM if path.parent.name == "claims" else LONGEST
    assert len(text.splitlines()) <= longest
    assert ast.get_docstring(ast.parse(text)), "a module says what it is"
    assert path.stem not in FORBIDDEN


def test_nothing_derives_from_a_concrete_class():
    roots = {"Part", "Protocol", "Exception", "object", "Struct", "NamedTuple", "Optimizer", "Function", "Mapping"}
    roots |= {"TorchFunctionMode", "TrainerCallback", "Callback"}
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                names = {ast.unparse(b).split("[")[0].split(".")[-1] for b in node.bases}
                assert names <= roots, f"{path.name}: {node.name} derives from {names - roots}"
