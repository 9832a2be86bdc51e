"""Named compositions as they are shown: text that builds them again, state measured, a catalogue and a drawing."""

import dataclasses
import itertools
import re
from dataclasses import dataclass
from xml.etree import ElementTree

import pytest
import torch
from rich.console import Console
from walk import names

from adamantine import __main__ as command_line
from adamantine import catalogue, composition, listing, tree
from adamantine.nets.decoder import Decoder
from adamantine.part import Chain
from adamantine.point import Point, stream
from adamantine.recipes import LR, recipes
from adamantine.report import periodic
from adamantine.role import ROLES, bind

RECIPES = {r.name: r for r in recipes()}
SVG = "{http://www.w3.org/2000/svg}"
SMALL = Decoder(vocab=31, context=8, width=16, depth=2, heads=2, bias=True)


def rebuilt(text, lr):
    """What the composition of a catalogue builds, with a number for the rate and words for the roles."""
    python = re.sub(r"([\d.e+-]+) lr\b", r"\1 * lr", text)
    return eval(python, {**names(), "torch": torch, **{role: role for role in ROLES}, "lr": lr})


def alike(a, b):
    """Equal, numbers to the six digits that are printed, a chain of one part being that part."""
    a, b = (x.parts[0] if isinstance(x, Chain) and len(x.parts) == 1 else x for x in (a, b))
    if dataclasses.is_dataclass(a):
        pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)] if type(a) is type(b) else []
        return type(a) is type(b) and all(alike(x, y) for x, y in pairs)
    if isinstance(a, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(alike, a, b))
    return a == (pytest.approx(b, rel=1e-5) if isinstance(a, float) else b)


@pytest.mark.parametrize("name", RECIPES)
def test_the_text_builds_the_composition(name):
    r = RECIPES[name]
    assert str(LR) not in r.composition, "a rate must be shown in units of lr"
    made = rebuilt(r.composition, LR)
    assert alike(made, r.part)
    assert composition.text(made, LR) == r.composition
    # At another rate it is the recipe at that rate.
    assert alike(rebuilt(r.composition, 0.5), listing.recipes()[name](lr=0.5))


def leaves_bytes(s):
    return sum(x.numel() * x.element_size() for _, x in tree.leaves(s))


@dataclass(frozen=True)
class Slope:
    """Something to differentiate twice on the tensors of a network."""

    def losses(self, w, batch):
        return torch.log(torch.cosh(batch @ tree.flat(w) / 8))


@pytest.mark.parametrize("name", RECIPES)
def test_bytes_a_parameter_are_those_of_real_tensors(name, monkeypatch):
    monkeypatch.setattr(composition, "GPT2", SMALL)
    part = bind(RECIPES[name].part, SMALL.tags())
    rng = stream(0, "weights")
    w = {k: torch.randn(shape, generator=rng) for k, shape in SMALL.shapes().items()}
    s = part.init(w)
    most = leaves_bytes(s)
    for t in range(2):
        p = Point(Slope(), w, torch.randn(3, tree.size(w), generator=rng), t, 2)
        u, s = part.update(p.grad, s, p)
        most, w = max(most, leaves_bytes(s)), tree.add(w, u, -1.0)
    assert composition.bytes_per_parameter(RECIPES[name].part) == pytest.approx(most / tree.size(w), rel=1e-12)


def test_the_catalogue_prints_every_recipe_with_its_facts():
    console = Console(width=2000)
    with console.capture() as shown:
        console.print(catalogue.recipe_sheet())
    rows = {line.split()[0]: line for line in shown.get().splitlines() if line.strip()}
    assert set(RECIPES) == set(listing.recipes())
    for r in RECIPES.values():
        row = rows[r.name[:22]]
        assert r.composition in row
        assert f" {r.bytes:.2f} " in row
        assert r.symmetry.split()[0] in row
        assert r.source.split(",")[0][:16].split()[0] in row


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_catalogue_cuts_nothing_off_where_there_is_little_room(width):
    console = Console(width=width)
    with console.capture() as shown:
        console.print(catalogue.recipe_sheet())
    out = shown.get()
    assert "…" not in out
    assert all(len(line) <= width for line in out.splitlines())


# --- the drawing ---------------------------------------------------------------------------------------------


def drawn(shown):
    """The tiles of the table: the name, what hovering says, and the rectangle as left, top, right, bottom."""
    root = ElementTree.fromstring(periodic.svg(shown))
    tiles = []
    for group in root.iter(f"{SVG}g"):
        (rect,) = group.findall(f"{SVG}rect")
        x, y, width, height = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
        words = [t.text for t in group.findall(f"{SVG}text")]
        tiles.append((words, group.find(f"{SVG}title").text, (x, y, x + width, y + height)))
    return root, tiles


def meet(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("count", [1, 7, len(RECIPES), 3 * len(RECIPES)])
def test_the_drawing_has_a_tile_a_recipe_and_none_over_another(count):
    chosen = list(itertools.islice(itertools.cycle(RECIPES.values()), count))
    root, tiles = drawn(chosen)
    assert sorted((words[0], title) for words, title, _ in tiles) == sorted(
        (r.name.replace("_", " "), r.composition) for r in chosen
    )
    _, _, width, height = map(float, root.get("viewBox").split())
    for _, _, (left, top, right, bottom) in tiles:
        assert left >= 0
        assert top >= periodic.TOP
        assert right <= width
        assert bottom <= height
    assert not any(meet(a, b) for (_, _, a), (_, _, b) in itertools.combinations(tiles, 2))


def test_where_a_tile_stands_is_its_symmetry_and_its_state():
    _, tiles = drawn(list(RECIPES.values()))
    at = {words[0].replace(" ", "_"): box for words, _, box in tiles}
    for a, b in itertools.combinations(RECIPES.values(), 2):
        rows, columns = ([f(x) for x in (a, b)] for f in (_row, _column))
        assert (rows[0] < rows[1]) <= (at[a.name][3] < at[b.name][1])
        assert (columns[0] < columns[1]) <= (at[a.name][2] < at[b.name][0])


def _row(r):
    return periodic._row(r.bytes)


def _column(r):
    return periodic._column(r.symmetry_of_hidden)


def test_names_with_letters_that_mean_something_in_xml():
    r = dataclasses.replace(RECIPES["adamw"], name="a<b&c", composition='Ema("<&>")', source="A & B 1999")
    _, [(words, title, _)] = drawn([r])
    assert words[0] == "a<b&c"
    assert title == 'Ema("<&>")'


# --- the command line ----------------------------------------------------------------------------------------


def call(*words):
    with pytest.raises(SystemExit) as stop:
        command_line.main([str(x) for x in words])
    return stop.value.code


@pytest.fixture
def said(capsys, monkeypatch):
    monkeypatch.setattr(command_line.console, "width", 1000)
    return lambda: capsys.readouterr().out


def test_all_about_each_by_its_name(said):
    for r in RECIPES.values():
        entry, whole = listing.entry("recipes", r.name)
        assert entry.module == r.module
        assert whole.startswith(f"{r.name}(lr")
        assert r.what in " ".join(whole.split())
    assert call("list", "recipes", "muon") == 0
    out = said()
    assert "from adamantine.optim.muon import muon" in out
    assert RECIPES["muon"].source in out


@pytest.mark.parametrize(
    ("given", "near"), [("adamm", "adam"), ("moun", "muon"), ("shampo", "shampoo"), ("Lion", "lion"), ("so_ap", "soap")]
)
def test_misspelt_names_get_the_nearest(given, near, said):
    assert call("list", "recipes", given) == 1
    out = said()
    assert f"no recipe '{given}'" in out
    assert near in out
    assert "Traceback" not in out


def test_drawn_from_the_command_line(said, tmp_path):
    assert call("list", "recipes", "--draw", tmp_path / "table.svg") == 0
    assert "drawn" in said()
    ElementTree.parse(tmp_path / "table.svg")
