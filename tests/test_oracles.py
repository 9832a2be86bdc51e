"""Other packages' optimizers against the textbook loops, one row of `benchmarks/peers` a test.

A row without a reason agrees: within 1e-9 in float64, or, where the package knows only float32, within ten times what
rounding does to the loop. A row with a reason differs, so that a reason that no longer holds is found out.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import agreement
from peers import PEERS
from peers.peer import PACKAGES
from test_textbook import LOOPS, RECIPES

pytestmark = pytest.mark.filterwarnings("ignore")  # third parties warn


@pytest.mark.parametrize("peer", [pytest.param(x, id=f"{x.recipe}: {x.call}") for x in PEERS])
def test_peer_stands_where_the_page_says(peer):
    module = PACKAGES[peer.package].split(".")[0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{peer.package} is not installed; `make oracles` brings it")
    if peer.recipe not in LOOPS:
        pytest.skip(f"{peer.recipe} has no textbook loop yet")
    found = agreement.measure(peer)
    assert not found.absent
    if peer.why:
        assert found.failure or not found.agrees, f"agrees by now ({found.distance:.1e}): {peer.why}"
    else:
        assert found.agrees, f"{found.verdict} ({found.distance:.1e}, limit {found.limit:.0e})"


def test_every_peer_is_of_a_recipe_and_a_package_we_know():
    assert {x.recipe for x in PEERS} <= set(RECIPES)
    assert {x.package for x in PEERS} <= set(PACKAGES)


def test_no_call_is_listed_twice():
    rows = [(x.recipe, x.call, x.lr, x.exact, *sorted(x.given.items())) for x in PEERS]
    assert len(set(rows)) == len(rows)
