"""The page and its exports: nothing is lost by thinning, nothing breaks out of a name, everything reads back."""

import base64
import csv
import gzip
import html
import io
import json
import math
import re

import hostile
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adamantine.finding import Curve, Figure, Findings, Gallery, Table
from adamantine.report import export, page, verdicts
from adamantine.report.number import column, number, rounded
from adamantine.report.palette import PALETTE, SHADES, colours, group_of
from adamantine.report.paper import paper
from adamantine.report.thin import thin
from adamantine.report.trace import spec


def written(folder, items=hostile.ITEMS, findings=hostile.FINDINGS):
    out = folder / "index.html"
    title = f"Title {hostile.NAME}"
    return page.write(
        title, f"Why?\n\n{hostile.NAME}", findings, items, out, command=hostile.COMMAND, runs=hostile.RUNS
    )


def island(text, name):
    kind, data = re.search(rf'<script id="{name}" type="application/(\w+)">(.*?)</script>', text).groups()
    return json.loads(gzip.decompress(base64.b64decode(data)) if kind == "gzip" else data)


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf), min_size=1, max_size=600),
    st.integers(8, 60),
    st.booleans(),
)
def test_thinning_keeps_ends_and_extremes(y, limit, log):
    x = np.arange(1, len(y) + 1)
    kept = thin(x, y, limit, log=log)
    assert len(kept) <= max(limit, min(len(y), limit))
    assert (np.diff(kept) > 0).all()
    assert {kept[0], kept[-1]} == {0, len(y) - 1}
    finite = [v for v in y if math.isfinite(v)]
    if finite:
        assert {min(finite), max(finite)} <= {y[i] for i in kept}
    if len(finite) < len(y):
        assert any(not math.isfinite(y[i]) for i in kept), "a gap stays a gap"


def test_a_spike_of_one_step_is_drawn():
    y = [1.0] * 10_000
    y[4321] = 9.0
    drawn = spec(Figure("t", "c", "x", "y", (Curve("a", list(range(10_000)), y),)), {"a": "#000000"})
    assert 9.0 in drawn["data"][0]["y"]
    assert drawn["drawn"] < 500 < drawn["total"] == 10_000


def test_bands_gaps_and_marks():
    low, high = [0.5, 0.5, math.nan, 0.5], [2.0, 2.0, 2.0, 2.0]
    curve = Curve("a", [1, 2, 3, 4], [1.0, math.nan, math.inf, 1.0], low, high, marks=[2.5])
    data = spec(Figure("t", "c", "x", "y", (curve,)), {"a": "#112233"})["data"]
    band, line, marks = data
    assert band["x"] == [1, 2, 2, 1, None, 4, 4, None], "the band has a gap where an end is not a number"
    assert line["y"] == [1.0, None, None, 1.0]
    assert marks["x"] == [2.5, 3], "a mark, and the first infinite value"
    assert json.dumps(data, allow_nan=False)


@pytest.mark.parametrize(
    ("curve", "says"),
    [
        (Curve("a", [1, 2], [1.0]), "one value per point"),
        (Curve("a", [1], [1.0], low=[0.5]), "both low and high"),
        (Curve("a", [1], [1.0], style="dots"), "style 'dots'"),
    ],
)
def test_malformed_curves_are_refused(tmp_path, curve, says):
    with pytest.raises(ValueError, match=says):
        written(tmp_path, [Figure("t", "c", "x", "y", (curve,))])


def test_what_is_no_page_is_refused(tmp_path):
    with pytest.raises(TypeError, match="not a Figure"):
        written(tmp_path, ["figure"])
    with pytest.raises(ValueError, match=r"must end in \.html"):
        page.write("t", "q", Findings("", ()), [], tmp_path / "page.txt", command="", runs={})


def test_groups_keep_their_colour_over_the_page():
    one = Figure("t", "c", "x", "y", tuple(Curve(n, [1], [1.0]) for n in ("a", "b", "c")))
    two = Figure("t", "c", "x", "y", tuple(Curve(n, [1], [1.0]) for n in ("c", "d", "a")))
    found = colours([one, two])
    assert list(found) == ["a", "b", "c", "d"]
    assert len(set(found.values())) == 4
    many = Figure("t", "c", "x", "y", tuple(Curve(str(i), [1], [1.0]) for i in range(len(PALETTE) + 3)))
    assert set(colours([many]).values()) == set(PALETTE)


def test_curves_of_one_figure_are_told_apart():
    first = Figure("t", "c", "x", "y", tuple(Curve(f"a{i}", [1], [1.0]) for i in range(8)))
    later = Figure("t", "c", "x", "y", tuple(Curve(n, [1], [1.0]) for n in ("a1", "b1", "a2", "b2", "a3", "b3")))
    found = colours([first, later])
    assert len({found[group_of(c)] for c in later.curves}) == 6, "though the page has more groups than colours"
    crowd = Figure("t", "c", "x", "y", tuple(Curve(str(i), [1, 2], [1.0, 2.0]) for i in range(3 * len(PALETTE))))
    lines = [t["line"] for t in spec(crowd, colours([crowd]))["data"]]
    assert len({(line["color"], line["dash"]) for line in lines}) == 3 * len(PALETTE)


def test_bars_lie_on_their_side_in_shades_of_one_colour():
    bars = [Curve(f"at {i}", ["a", "b"], [1.0, math.inf], [0.5, 0.5], [2.0, 2.0], style="bar") for i in range(3)]
    drawing = spec(Figure("t", "c", "", "times", tuple(bars), x_scale="category"), colours([figure_of(*bars)]))
    bar, mark = drawing["data"][:2]
    assert (bar["orientation"], bar["x"], bar["y"]) == ("h", [1.0, None], ["a", "b"])
    assert bar["error_x"]["array"][0] == 1.0
    assert (mark["xaxis"], mark["y"]) == ("x2", ["b"])
    assert drawing["layout"]["xaxis"]["title"]["text"] == "times"
    assert set(colours([figure_of(*bars)]).values()) <= set(SHADES)


def figure_of(*curves):
    return Figure("t", "c", "x", "y", curves)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_wide_band_does_not_dwarf_its_lines(scale):
    narrow = Curve("a", [1, 2], [1.0, 2.0], [0.9, 1.9], [1.1, 2.1])
    wide = Curve("b", [1, 2], [1.5, 1.5], [1.4, 1.4], [1.6, 1e9])
    axes = [
        spec(Figure("t", "c", "x", "y", drawn, y_scale=scale), {"a": "#000000", "b": "#111111"})["layout"]["yaxis"]
        for drawn in ((narrow,), (narrow, wide))
    ]
    assert "range" not in axes[0]
    low, high = ((10.0**v if scale == "log" else v) for v in axes[1]["range"])
    assert 0 < low < 1
    assert 2.1 < high < 10


def test_the_same_figure_of_every_task_stands_side_by_side():
    titles = ("one: curves", "one: rates", "Alone", "two {0}: curves", "two {0}: rates")
    items = [Figure(t.format(hostile.NAME), "c", "x", "y", ()) for t in titles]
    found = page.named(hostile.FINDINGS, items)
    assert [name for name, _ in found] == [f"figure-{i}" for i in range(1, 6)]
    assert [item.title.rpartition(": ")[2] for _, item in found] == ["curves", "curves", "rates", "rates", "Alone"]


def test_hostile_names_are_text(tmp_path):
    text = written(tmp_path).read_text()
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "<img src=x" not in text
    assert len(re.findall("<script", text)) == len(re.findall("</script>", text)) == 5, "three of data, library, code"
    assert "<script>window" not in text
    assert hostile.NAME in html.unescape(outside), "and are shown as they are"
    for name in ("figures", "texts", "index"):
        assert island(text, name)


def test_the_page_says_what_the_findings_say(tmp_path):
    text = html.unescape(written(tmp_path).read_text())
    for f in hostile.FINDINGS.findings:
        assert f.rule in text
    assert "1 inconclusive" in text
    assert "2 supported" in text
    assert hostile.COMMAND in text
    assert all(key in text for key in hostile.KEYS)
    assert not re.search(r"(src|href)=\"?https?:", text), "nothing is asked of a network"
    assert len(text) < 2_500_000


def test_verdicts_of_one_statement_stand_side_by_side():
    rows = verdicts.rows(hostile.FINDINGS.findings)
    assert [len(r.cells) for r in rows] == [2, 2]
    assert rows[1].statement == "Another"
    assert [only for _, only in rows[1].cells.values()] == ["(3 of 8 left out)", ""]
    assert [f.verdict for f in verdicts.chief(hostile.FINDINGS.findings)] == ["supported", "refuted"]


def test_whole_data_lies_beside_the_page_and_nothing_of_an_earlier_one(tmp_path):
    written(tmp_path)
    folder = tmp_path / "index-data"
    names = {f.name for f in folder.iterdir()}
    assert {"figure-1.csv", "figure-2.csv", "table-1.csv", "table-1.tex", "gallery-1.npz", "runs.csv"} <= names
    rows = [*csv.DictReader(io.StringIO((folder / "figure-1.csv").read_text()))]
    line = [float(r["y"]) for r in rows if r["curve"] == "line"]
    assert line == hostile.LINE.y, "full precision, every point"
    assert any(r["curve"] == hostile.NAME and r["diverged"] == "1" for r in rows)
    with np.load(folder / "gallery-1.npz") as held:
        assert held["row0"].tolist() == [[[0.0, 1.0], [0.5, 0.25]]]
    written(tmp_path, hostile.ITEMS[:1])
    assert not (folder / "figure-2.csv").exists()
    assert not (folder / "gallery-1.npz").exists()


def test_long_figures_are_parquet(tmp_path):
    n = export.LONG + 1
    item = Figure("t", "c", "x", "y", (Curve("a", list(range(n)), [0.0] * n),))
    path = export.save(item, tmp_path, "figure-1")
    assert path.suffix == ".parquet"
    assert len(pq.read_table(path)) == n


def test_tables_read_back():
    table = hostile.ITEMS[3]
    header, *rows = csv.reader(io.StringIO(export.table_csv(table)))
    assert tuple(header) == table.columns
    assert [r[0] for r in rows] == [r[0] for r in table.rows]
    assert [float(r[1]) for r in rows][:2] == [1.5, math.inf]
    tex = export.latex(table)
    bare = re.sub(r"\\[\\{}_&%#$]", "", tex)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert all(line.endswith(r"\\") for line in tex.splitlines() if " & " in line)
    assert r"\textless{}/script\textgreater{}" in tex
    assert r"$1 \times 10^{-9}$" in tex
    assert export.latex_text("a\\b_c^d~") == r"a\textbackslash{}b\_c\textasciicircum{}d\textasciitilde{}"


@pytest.mark.parametrize("item", [x for x in hostile.ITEMS if not isinstance(x, Table)], ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_papers_are_figures_and_equal_for_equal_input(tmp_path, item, suffix):
    first, second = (paper(item, tmp_path / f"{i}{suffix}").read_bytes() for i in (1, 2))
    assert first == second
    assert len(first) > 1000
    magic = {".pdf": b"%PDF", ".svg": b"<?xm", ".png": b"\x89PNG"}[suffix]
    assert first.startswith(magic)


def test_logarithmic_axes_of_papers_are_numbered_in_words(tmp_path):
    for high in (5.0, 5e3, 5e8):
        item = Figure("t", "c", "x", "y", (Curve("a", [0.5, 2.0], [1.5, high]),), x_scale="log", y_scale="log")
        assert "mathdefault" not in paper(item, tmp_path / "a.svg").read_text()


def test_a_paper_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must end in"):
        paper(hostile.ITEMS[0], tmp_path / "a.docx")
    assert paper(hostile.ITEMS[3], tmp_path / "t.tex").read_text() == export.latex(hostile.ITEMS[3])


def test_images_are_png():
    uri = page.png([[0.0, 0.5, 2.0], [1.0, math.nan, 0.25]])
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert np.asarray(image).tolist() == [[0, 128, 255], [255, 0, 64]]
    with pytest.raises(ValueError, match="Gallery"):
        page.png([[[0.0]]])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (1.23456, "1.235"), (-0.001234, "−0.001234"), (123456.0, "1.23×10⁵"), (1e-9, "1×10⁻⁹"),
        (math.inf, "∞"), (-math.inf, "−∞"), (math.nan, "–"), (None, "–"), (12345, "12\u202f345"), ("x", "x"),
        (2.0, "2"),
    ],
)  # fmt: skip
def test_numbers_for_readers(value, text):
    assert number(value) == text


def test_an_interval_says_how_many_digits_an_effect_bears():
    assert rounded(31.0713, 6.548, 55.6) == ("31", "7", "56")
    assert rounded(0.75, 0.657, 0.843) == ("0.750", "0.657", "0.843")
    assert rounded(math.nan, -math.inf, math.inf) == ("–", "−∞", "∞")
    assert column([1.5, 22.25, math.nan]) == ["1.50", "22.25", "–"]


def test_a_page_without_anything_is_a_page(tmp_path):
    out = page.write("t", "", Findings("Nothing.", ()), [], tmp_path / "index.html", command="c", runs={})
    assert "Nothing." in out.read_text()
    empty = [Figure("t", "c", "x", "y", ()), Table("t", "c", ("a",), ()), Gallery("g", "c", {})]
    assert "Table 1" in re.sub(r"<[^>]+>", " ", written(tmp_path, empty).read_text()).replace("  ", " ")
