"""The page in a browser: it draws, sorts, filters and saves, asks nothing of a network, and names stay inert."""

import csv
import io
import json

import browser
import hostile
import pytest
from PIL import Image

from adamantine.report import page

pytestmark = pytest.mark.skipif(browser.binary() is None, reason="no Chromium on PATH")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "index.html"
    page.write(
        f"Title {hostile.NAME}",
        "Why?",
        hostile.FINDINGS,
        hostile.ITEMS,
        out,
        command=hostile.COMMAND,
        runs=hostile.RUNS,
    )
    return out.as_uri()


@pytest.fixture(scope="module")
def tab():
    with browser.Browser() as one:
        yield one


@pytest.fixture
def opened(tab, url):
    tab.open(url, height=6000)
    tab.wait("document.querySelectorAll('.item[data-drawn]').length === 2")
    yield tab
    asked = [e["request"]["url"] for e in tab.reported("Network.requestWillBeSent")]
    assert all(u.startswith(("file:", "data:", "blob:")) for u in asked), asked
    assert tab.reported("Log.entryAdded") == [], "the console has something to say"
    assert tab.reported("Runtime.exceptionThrown") == []
    assert tab.js("window.hit ?? 0") == 0, "a name was run as code"


def click(tab, selector):
    tab.js(f"document.querySelector({json.dumps(selector)}).click()")


def test_every_figure_is_drawn_whole(opened):
    drawn = opened.js("document.querySelector('#figure-1 .plot').data.map((t) => [t.meta?.name ?? '', t.x.length])")
    assert ["line", 40] in drawn
    assert [hostile.NAME, 4] in drawn
    assert opened.js("document.querySelectorAll('#figure-1 .plot .scatterlayer .trace').length") >= 3
    assert opened.js("document.querySelectorAll('#figure-2 .plot .bars .point').length") == 6
    assert opened.js("[...document.querySelectorAll('.images img')].every((i) => i.naturalWidth > 0)")


def test_the_legend_hides_and_shows(opened):
    def visible():
        data = opened.js("document.querySelector('#figure-1 .plot').data.map((t) => [t.name, t.visible ?? true])")
        return {shown for name, shown in data if name == "line"}

    assert visible() == {True}
    click(opened, "#figure-1 .legend button")
    opened.wait("document.querySelector('#figure-1 .legend button').getAttribute('aria-pressed') === 'false'")
    assert visible() == {False}
    click(opened, "#figure-1 .legend button")
    opened.wait("document.querySelector('#figure-1 .legend button').getAttribute('aria-pressed') === 'true'")
    assert visible() == {True}


def test_axes_switch_between_log_and_linear(opened):
    kind = "document.querySelector('#figure-1 .plot').layout.yaxis.type"
    before = opened.js(kind)
    click(opened, "#figure-1 [data-do=scale][data-axis=y]")
    opened.wait(f"{kind} !== {json.dumps(before)}")


def test_tables_sort_by_number_with_what_is_none_last(opened):
    cells = "[...document.querySelectorAll('#table-1 tbody tr')].map((r) => r.cells[1].dataset.v)"
    click(opened, "#table-1 th:nth-child(2) button")
    assert opened.js(cells) == ["1e-09", "1.5", "inf", "nan"]
    click(opened, "#table-1 th:nth-child(2) button")
    assert opened.js(cells) == ["inf", "1.5", "1e-09", "nan"]
    click(opened, "#table-1 th:nth-child(3) button")
    counts = opened.js("[...document.querySelectorAll('#table-1 tbody tr')].map((r) => Number(r.cells[2].dataset.v))")
    assert counts == [3, 7, 20, 100]


def test_verdicts_can_be_filtered(opened):
    hidden = "[...document.querySelectorAll('.verdicts tbody tr')].map((r) => r.hidden)"
    assert opened.js(hidden) == [False, False]
    click(opened, "[data-only=refuted]")
    assert opened.js(hidden) == [False, True]
    click(opened, "[data-only=refuted]")
    assert opened.js(hidden) == [False, False]


def test_figures_and_tables_are_saved(opened):
    name, data = opened.saved("document.querySelector('#figure-1 [data-do=points]').click()")
    assert name == "index-figure-1.csv"
    rows = [*csv.reader(io.StringIO(data.decode()))]
    assert rows[0] == ["curve", "group", "step", "loss", "low", "high", "diverged"]
    assert [float(r[3]) for r in rows if r[0] == "line"] == pytest.approx(hostile.LINE.y, rel=1e-4)
    assert any(r[0] == hostile.NAME and r[6] == "1" for r in rows)
    _, bars = opened.saved("document.querySelector('#figure-2 [data-do=points]').click()")
    held = [(r["curve"], r["x"], float(r["steps"])) for r in csv.DictReader(io.StringIO(bars.decode()))]
    assert held == [(c.name, x, y) for c in hostile.BARS for x, y in zip(c.x, c.y, strict=True)]
    _, svg = opened.saved("document.querySelector('#figure-1 [data-do=svg]').click()")
    assert svg.lstrip().startswith(b"<svg")
    _, png = opened.saved("document.querySelector('#figure-2 [data-do=png]').click()")
    assert Image.open(io.BytesIO(png)).size == (2400, 1500)
    name, table = opened.saved("document.querySelector('#table-1 [data-do=csv]').click()")
    assert name == "index-table-1.csv"
    assert next(csv.reader(io.StringIO(table.decode()))) == ["arm", "loss", "count"]
    _, tex = opened.saved("document.querySelector('#table-1 [data-do=tex]').click()")
    assert rb"\begin{tabular}" in tex


def test_keys_lead_to_their_runs(opened):
    click(opened, "#figure-1 .keys summary")
    opened.wait("document.querySelectorAll('#figure-1 .keys a').length === 2")
    click(opened, "#figure-1 .keys a")
    opened.wait("document.querySelector('#runs').open && document.querySelector('tr.found')")
    assert hostile.KEYS[0] in opened.js("document.querySelector('tr.found').textContent")
    assert opened.js("document.querySelectorAll('#runs tbody tr').length") == 2


def test_every_bar_has_its_name_on_a_phone(opened, url):
    opened.open(url, 390, 9000, phone=True)
    names = "[...document.querySelectorAll('#figure-2 .ytick text')].map((t) => t.dataset.unformatted)"
    opened.wait(f"{names}.length === 3")
    assert {"a", "c"} < set(opened.js(names))
    assert opened.js("document.querySelector('#figure-2 .plot .gridlayer').getBBox().width") > 150, "names leave room"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(opened, url, width, dark):
    opened.open(url, width, 900, phone=width < 500, dark=dark)
    assert opened.js("document.scrollingElement.scrollWidth") <= width
    picture = Image.open(io.BytesIO(opened.picture())).convert("L")
    dark_share = sum(v < 128 for v in picture.resize((100, 100)).tobytes()) / 10_000
    assert (dark_share > 0.5) == dark


def test_without_javascript_verdicts_and_tables_are_there(opened, url):
    opened.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened.open(url)
    finally:
        opened.call("Emulation.setScriptExecutionDisabled", value=False)
    assert opened.js("document.querySelectorAll('[data-drawn]').length") == 0, "no script ran"
    assert opened.js("document.querySelectorAll('.verdicts tbody tr').length") == 2
    assert opened.js("document.querySelectorAll('#table-1 tbody tr').length") == 4
