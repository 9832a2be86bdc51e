"""Size of a page with a hundred long curves, and how long a browser takes to show and to draw it.

    python benchmarks/page.py [CURVES] [POINTS]

Needs Chromium on PATH. Prints medians of five loads of a page with 100 curves of 2,000 points and their bands, in
five figures that are all on the screen: the browser's own first contentful paint, and the time until every figure is
drawn. The peer is plotly.py's own page of the same figures, with its library inside; it holds every point, where ours
draws the extremes of every stretch (about 200 of 2,000 points) and keeps the whole data in a folder beside the page.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from adamantine.finding import Curve, Figure, Finding, Findings
from adamantine.report import page

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import browser

LOADS, FIGURES = 5, 5


def curves(count, points):
    rng = np.random.default_rng(0)
    x = list(range(1, points + 1))
    for i in range(count):
        y = 3 * np.array(x) ** -0.3 + 0.05 * rng.standard_normal(points)
        yield Curve(f"arm {i}", x, y.tolist(), (y - 0.1).tolist(), (y + 0.1).tolist())


def ours(items, out):
    finding = Finding("It is so", "supported", 1.0, (0.5, 1.5), "%", 5, "Supported if above 0.", "task")
    return page.write("Title", "Why?", Findings("So.", (finding,)), items, out, command="adamantine run", runs={})


def theirs(items, out):
    parts = []
    for i, item in enumerate(items):
        drawn = go.Figure()
        for c in item.curves:
            drawn.add_scatter(x=c.x + c.x[::-1], y=c.high + c.low[::-1], fill="toself", line_width=0, showlegend=False)
            drawn.add_scatter(x=c.x, y=c.y, name=c.name)
        parts.append(drawn.to_html(full_html=False, include_plotlyjs=i == 0))
    out.write_text(f"<!doctype html><html><body>{''.join(parts)}</body></html>")
    return out


def timed(tab, url, drawn):
    paints, whole = [], []
    for _ in range(LOADS):
        start = time.perf_counter()
        tab.open(url, height=4000)
        tab.wait(drawn)
        whole.append(time.perf_counter() - start)
        tab.wait("performance.getEntriesByName('first-contentful-paint').length")
        paints.append(tab.js("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000)
    return statistics.median(paints), statistics.median(whole)


def main(count=100, points=2000):
    every = [*curves(count, points)]
    items = [Figure(f"Figure {i}", "", "step", "loss", tuple(every[i::FIGURES])) for i in range(FIGURES)]
    with tempfile.TemporaryDirectory() as folder, browser.Browser(patience=120) as tab:
        pages = {
            "adamantine": (
                ours(items, Path(folder, "ours.html")),
                f"document.querySelectorAll('[data-drawn]').length === {FIGURES}",
            ),
            "plotly.py": (
                theirs(items, Path(folder, "theirs.html")),
                f"document.querySelectorAll('.main-svg .legend').length >= {FIGURES}",
            ),
        }
        rows = {}
        for name, (file, drawn) in pages.items():
            rows[name] = (file.stat().st_size / 1e6, *timed(tab, file.as_uri(), drawn))
            size, paint, whole = rows[name]
            print(f"{name:>11}: {size:6.2f} MB, first paint {paint:.2f} s, all {FIGURES} figures drawn {whole:.2f} s")
        ratios = (a / b for a, b in zip(rows["adamantine"], rows["plotly.py"], strict=True))
        print("      ratio: " + ", ".join(f"{r:.2f}" for r in ratios))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
