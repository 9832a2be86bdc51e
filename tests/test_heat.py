"""Heat maps: what is drawn is what was given, on the page, on paper and in the files beside them."""

import csv
import io
import json
import math

import browser
import hostile
import numpy as np
import pyarrow.parquet as pq
import pytest

from adamantine.finding import Findings, Heat
from adamantine.report import heat, page
from adamantine.report.export import save
from adamantine.report.palette import DIVERGING, DIVERGING_DARK, SEQUENTIAL
from adamantine.report.paper import paper
from adamantine.report.paper_heat import heat_map

NONE = Findings("Nothing was asked.", ())
NAMES = ("net.0.weight", "net.0.bias", f"net.1.{hostile.NAME}")
VALUES = ((1.0, 10.0, 1e3), (0.0, math.nan, 1e-2), (-1.0, math.inf, 5.0))


def made(scale="linear", values=VALUES, rows=NAMES, columns=(0, 16, 64)):
    return Heat(f"Ratio {hostile.NAME}", "Caption.", "step", "tensor", columns, rows, values, "update / weight", scale)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"values": VALUES[:2]}, "one number for each"),
        ({"values": ((1.0,),) * 3}, "one number for each"),
        ({"rows": ("a", "a", "b")}, "comes twice"),
        ({"columns": (0, 0, 1)}, "comes twice"),
        ({"scale": "loud"}, "not linear, log or diverging"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        made(**change)


def test_colours_stand_for_the_values():
    linear, log, around = (heat.spec(made(s))["data"][0] for s in ("linear", "log", "diverging"))
    assert linear["z"] == [[1.0, 10.0, 1e3], [0.0, None, 0.01], [-1.0, None, 5.0]]
    assert (linear["zmin"], linear["zmax"]) == (-1.0, 1e3)
    assert log["z"] == [[0.0, 1.0, 3.0], [None, None, -2.0], [None, None, pytest.approx(math.log10(5), abs=1e-4)]]
    assert log["customdata"][0] == [1.0, 10.0, 1e3]
    assert (log["zmin"], log["zmax"]) == (-2.0, 3.0)
    assert (around["zmin"], around["zmax"]) == (-1e3, 1e3)
    assert around["colorscale"][5][1] == DIVERGING[5]
    json.dumps([linear, log, around], allow_nan=False)


def test_ends_of_maps_of_one_number_and_of_none():
    assert heat.ends(made(values=((2.0,) * 3,) * 3)) == (1.0, 3.0)
    assert heat.ends(made("log", values=((10.0,) * 3,) * 3)) == (0.5, 1.5)
    empty = heat.spec(made("log", values=((-1.0, 0.0, math.nan),) * 3))
    assert empty["layout"]["annotations"][0]["text"] == "no value to draw"


def lightness(colour):
    r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (r, g, b))
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_colours_are_perceived_in_even_steps():
    up = np.diff([lightness(c) for c in SEQUENTIAL])
    assert up.min() > 0.5 * up.mean()
    around = np.array([lightness(c) for c in DIVERGING])
    assert np.all(np.diff(around[:6]) > 5)
    dark = np.array([lightness(c) for c in DIVERGING_DARK])
    assert np.all(np.diff(dark[5:]) > 5)
    assert all(np.abs(x - x[::-1]).max() < 5 for x in (around, dark))


def test_names_lose_what_all_share_and_stay_apart():
    assert heat.labels(["transformer.h.0.weight", "transformer.wte.weight"]) == ["h.0.weight", "wte.weight"]
    assert heat.labels(["a.b", "a.c"]) == ["b", "c"]
    assert heat.labels(["only.one"]) == ["only.one"]
    long = heat.labels([f"block.{i}.attention.some_very_long_projection.weight" for i in range(3)])
    assert len(set(long)) == 3
    assert max(map(len, long)) == heat.LONGEST


def test_many_columns_keep_the_extremes():
    n = 5 * heat.COLUMNS + 7
    row = [0.0] * n
    row[777], row[1234] = -5.0, 7.0
    item = made(values=(tuple(row),), rows=("a",), columns=tuple(range(n)))
    found = heat.spec(item)
    z = found["data"][0]["z"][0]
    assert (found["drawn"], found["total"]) == (heat.COLUMNS, n)
    assert (min(z), max(z)) == (-5.0, 7.0)
    at = found["data"][0]["x"]
    assert at[z.index(7.0)] <= 1234 < at[z.index(7.0) + 1]


@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (-12.0, 9.0), (-0.1, 0.1), (0.2, 0.21), (0.0, 1.0)])
def test_logarithmic_colours_have_round_numbers_inside(low, high):
    ticks = heat.log_ticks(low, high)
    assert 1 <= len(ticks) <= 7
    assert all(low - 1e-6 <= math.log10(t) <= high + 1e-6 for t in ticks)


def test_files_have_every_cell(tmp_path):
    rows = list(csv.reader(io.StringIO(save(made("log"), tmp_path, "small").read_text())))
    assert rows[0] == ["row", "column", "value"]
    assert [(r, int(c)) for r, c, _ in rows[1:]] == [(r, c) for r in NAMES for c in (0, 16, 64)]
    assert np.array_equal([float(v) for *_, v in rows[1:]], np.ravel(VALUES), equal_nan=True)
    n = 70_000
    large = made(values=((1.5,) * n,) * 3, columns=tuple(map(str, range(n))))
    table = pq.read_table(save(large, tmp_path, "large")).to_pydict()
    assert table["column"][n : n + 2] == ["0", "1"]
    assert set(table["value"]) == {1.5}


@pytest.mark.parametrize("scale", ["linear", "log", "diverging"])
@pytest.mark.parametrize("columns", [(0, 16, 64), ("a", "b", "c")])
def test_paper(tmp_path, scale, columns):
    item = made(scale, columns=columns)
    assert paper(item, tmp_path / "map.pdf").read_bytes().startswith(b"%PDF")
    canvas = heat_map(item, 5.5)
    cells = canvas.axes[0].collections[0].get_array()
    shown = np.array(VALUES)
    hidden = ~np.isfinite(shown) | ((shown <= 0) if scale == "log" else False)
    assert np.array_equal(np.ma.getmaskarray(cells).reshape(3, 3), hidden)
    assert canvas.axes[0].get_ylim() == (2.5, -0.5)


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if browser.binary() is None:
        pytest.skip("no Chromium on PATH")
    rng = np.random.default_rng(0)
    names = tuple(f"transformer.h.{i}.{x}.weight" for i in range(25) for x in ("attn.c_attn", "mlp.c_fc"))
    many = Heat("Many", "c", "step", "tensor", tuple(range(40)), names, tuple(map(tuple, rng.normal(size=(50, 40)))))
    out = tmp_path_factory.mktemp("heat") / "index.html"
    page.write("Maps", "", NONE, (made("log"), many), out, command="make", runs={})
    with browser.Browser() as one:
        one.open(out.as_uri(), height=3000)
        one.wait("document.querySelectorAll('.item[data-drawn]').length === 2")
        yield one


def test_the_page_draws_saves_and_names_them(tab):
    assert tab.js("document.querySelectorAll('.plot .hm').length") == 2
    assert tab.js("[...document.querySelectorAll('#figure-1 .ytick text')].map((t) => t.textContent)")[:2] == [
        "0.weight",
        "0.bias",
    ]
    assert tab.js("document.querySelectorAll('#figure-2 .ytick').length") == 50
    assert tab.js("document.querySelector('#figure-2').classList.contains('full')")
    name, data = tab.saved("document.querySelector('#figure-1 [data-do=points]').click()")
    rows = list(csv.reader(io.StringIO(data.decode())))
    assert name == "index-figure-1.csv"
    assert rows[0] == ["tensor", "step", "update / weight"]
    assert rows[1:4] == [["net.0.weight", "0", "1"], ["net.0.weight", "16", "10"], ["net.0.weight", "64", "1000"]]
    assert rows[5][2] == ""
    assert rows[-1][0] == NAMES[-1]
    _, svg = tab.saved("document.querySelector('#figure-2 [data-do=svg]').click()")
    assert svg.lstrip().startswith(b"<svg")
    assert tab.reported("Log.entryAdded") == []
    assert tab.reported("Runtime.exceptionThrown") == []
    assert tab.js("window.hit ?? 0") == 0


def test_the_hover_tells_the_number(tab):
    where = "document.querySelector('#figure-1 .plot .nsewdrag').getBoundingClientRect()"
    tab.js("window.scrollTo(0, 0)")
    box = tab.js(f"(({{x, y, width, height}}) => [x, y, width, height])({where})")
    at = {"x": box[0] + box[2] - 10, "y": box[1] + box[3] / 6}
    for step in (20, 0):
        tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=at["x"] - step, y=at["y"])
    tab.wait("document.querySelector('#figure-1 .hoverlayer text')")
    said = tab.js("document.querySelector('#figure-1 .hoverlayer').textContent")
    assert "net.0.weight" in said
    assert "step 64: 1000" in said
