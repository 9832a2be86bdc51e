"""The page docs/instruments.md says what the instruments say of themselves."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import instrument_tables

from adamantine.probes.trace import Trace

AGAIN = "write it again: python benchmarks/instrument_tables.py --write"
ALL = instrument_tables.instruments()


@pytest.mark.parametrize(("entry", "probe"), ALL, ids=[e.name for e, _ in ALL])
def test_the_page_has_the_section_of_each_instrument(entry, probe):
    current = instrument_tables.section(entry, probe) in instrument_tables.PAGE.read_text()
    assert current, AGAIN


def test_the_page_has_the_summary():
    current = instrument_tables.summary() in instrument_tables.PAGE.read_text()
    assert current, AGAIN


def test_errors_and_tensors_are_found_by_measuring():
    assert instrument_tables.shape(Trace())["trace"] == {"error", "by tensor"}
