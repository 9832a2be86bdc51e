"""The page docs/roles.md says what the tagger says."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
role_tables = pytest.importorskip("role_tables", reason="needs transformers")


@pytest.mark.parametrize("name", role_tables.NETWORKS)
def test_the_page_has_the_table_of_each_network(name):
    text = role_tables.section(name)
    assert text in role_tables.PAGE.read_text()
    assert ("| ? |" in text) == (name == "GPT-NeoX")
