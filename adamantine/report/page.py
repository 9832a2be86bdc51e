"""The page of a claim: one self-contained HTML file that opens offline, verdicts first."""

import base64
import functools
import gzip
import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from adamantine.finding import INCONCLUSIVE, REFUTED, SUPPORTED, Figure, Findings, Gallery, Heat, Table, finite
from adamantine.report import export, heat, verdicts
from adamantine.report.number import column, number, rounded
from adamantine.report.palette import colours
from adamantine.report.sideways import turned
from adamantine.report.trace import positive, spec

Item = Figure | Heat | Table | Gallery
HERE = Path(__file__).parent
SIGN = {SUPPORTED: "✓", REFUTED: "✗", INCONCLUSIVE: "?"}  # with the word, so that colour carries nothing alone
PARTS = (("Figure", "Figures"), ("Gallery", "Samples"), ("Table", "Tables"))
ZIP_ABOVE = 60_000  # characters of figure data above which it is compressed


def write(
    title: str,
    question: str,
    findings: Findings,
    items: Sequence[Item],
    out: Path,
    *,
    command: str,
    runs: Mapping[str, Mapping[str, Any]],
) -> Path:
    """Write the page to `out` (.html), the whole data to `<stem>-data/` beside it, and return `out`.

    `runs` maps a key to its `spec`, `status` and `seconds`; `command` is what makes this page again. The page
    requests nothing from any network. Raises TypeError for an item of another kind, ValueError for a suffix
    other than .html or a curve that is malformed.
    """
    out = Path(out)
    if out.suffix != ".html":
        raise ValueError(f"write: the page {out.name!r} must end in .html.")
    for item in items:
        if not isinstance(item, Item):
            raise TypeError(f"write: {item!r} is not a Figure, Heat, Table or Gallery.")
    folder = out.with_name(f"{out.stem}-data")
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    tint = colours(items)
    tasks = list(dict.fromkeys(f.task for f in findings.findings))
    views, drawings, texts = [], {}, {}
    for name, item in named(findings, items):
        file, stem = export.save(item, folder, name), f"{out.stem}-{name}"
        view: dict[str, Any] = {
            "id": name, "kind": _kind(item), "number": name.rpartition("-")[2],
            "item": item, "task": _task_of(item, tasks)[0],
            "keys": list(dict.fromkeys(item.keys)), "file": f"{folder.name}/{file.name}", "suffix": file.suffix[1:],
            "full": False,
        }  # fmt: skip
        if isinstance(item, (Figure, Heat)):
            drawing = heat.spec(item) if isinstance(item, Heat) else spec(item, tint)
            drawings[name] = {k: drawing[k] for k in ("data", "layout")} | {
                "file": stem, "columns": _columns(item),
            }  # fmt: skip
            view |= _shape(item)
            view |= {k: drawing[k] for k in ("legend", "drawn", "total")}
        elif isinstance(item, Table):
            view["rows"] = _cells(item)
            texts[name] = {"csv": export.table_csv(item), "tex": export.latex(item), "file": stem}
        else:
            view["rows"] = {k: [png(image) for image in images] for k, images in item.rows.items()}
        views.append(view)
    index = [(key, *_run(run)) for key, run in runs.items()]
    whole = export.table_csv(Table("Runs", "", ("key", "status", "seconds", "run"), tuple(index)))
    (folder / "runs.csv").write_bytes(whole.encode("utf-8", "replace"))
    loader = FileSystemLoader(HERE)
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters |= {"number": number, "rounded": lambda f: rounded(f.effect, *f.interval)}
    html = page.get_template("page.html").render(
        title=title, question=[p for p in question.split("\n\n") if p.strip()], findings=findings, command=command,
        chief=verdicts.chief(findings.findings), rows=verdicts.rows(findings.findings), tasks=tasks, signs=SIGN,
        tally=Counter(f.verdict for f in findings.findings), folder=folder.name, count=len(index),
        parts=[(kind, plural, _aligned([v for v in views if v["kind"] == kind], tasks)) for kind, plural in PARTS],
        css=Markup((HERE / "page.css").read_text("utf-8")), js=Markup((HERE / "page.js").read_text("utf-8")),
        figures=island("figures", drawings), texts=island("texts", texts), runs=island("index", index),
        plotly=_plotly() if drawings else "",
    )  # fmt: skip
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    aside.write_bytes(html.encode("utf-8", "replace"))
    aside.replace(out)
    return out


def named(findings: Findings, items: Sequence[Item]) -> list[tuple[str, Item]]:
    """The items in the order of the page under their names on it, `figure-1` and so on.

    Where titles begin with a task and a colon, the same figure of every task comes before the next figure.
    """
    tasks = [f.task for f in findings.findings]
    places: dict[tuple[str, str, int], int] = {}
    count: Counter[tuple[str, str, str]] = Counter()
    ranked = []
    for item in items:
        kind, (task, what) = _kind(item), _task_of(item, tasks)
        count[kind, task, what] += 1
        place = places.setdefault((kind, what, count[kind, task, what]), len(places))
        ranked.append((place, item))
    ranked.sort(key=lambda r: r[0])
    numbers: Counter[str] = Counter()
    found = []
    for _, item in ranked:
        kind = _kind(item).lower()
        numbers[kind] += 1
        found.append((f"{kind}-{numbers[kind]}", item))
    return found


def island(name: str, value: Any) -> Markup:
    """`value` as a data block of the page: JSON in which no `<`, `&` or U+2028 stands, compressed when long."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII: U+2028 and the like are escaped
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    kind = "application/json"
    if len(text) > ZIP_ABOVE:
        kind, text = "application/gzip", _packed(text)
    return Markup('<script id="{}" type="{}">{}</script>').format(name, kind, Markup(text))


def png(image: Sequence[Sequence[float]]) -> str:
    """A grey image `[H][W]` in [0, 1] as a PNG data URI (values clipped, NaN black)."""
    grey = np.rint(255 * np.clip(np.nan_to_num(np.asarray(image, dtype=float)), 0, 1)).astype(np.uint8)
    if grey.ndim != 2:
        raise ValueError(f"Gallery: an image is [H][W] numbers, not of shape {grey.shape}.")
    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in grey), 9)
    blocks = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    data = b"".join(
        struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in blocks
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + data).decode()


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


@functools.cache
def _plotly() -> str:
    return _packed(get_plotlyjs())


def _clear(folder: Path) -> None:
    # Data of an earlier version of this page must not be taken for this one's.
    for kind in ("figure-*", "table-*", "gallery-*", "runs"):
        for old in folder.glob(f"{kind}.*"):
            old.unlink()


def _task_of(item: Item, tasks: Sequence[str]) -> tuple[str, str]:
    task, colon, rest = item.title.partition(": ")
    return (task, rest) if colon and task in tasks else ("", item.title)


def _aligned(views: list[dict[str, Any]], tasks: Sequence[str]) -> list[list[dict[str, Any]]]:
    # Views in rows: a row holds what is the same for every task, and all that names no task is one row.
    rows: list[list[dict[str, Any]]] = []
    last = None
    for view in views:
        task, what = _task_of(view["item"], tasks)
        same = (what if task else "", bool(task))
        if rows and same == last and (not task or task not in {_task_of(v["item"], tasks)[0] for v in rows[-1]}):
            rows[-1].append(view)
        else:
            rows.append([view])
        last = same
    return rows


def _kind(item: Item) -> str:
    return "Figure" if isinstance(item, Heat) else type(item).__name__


def _columns(item: Figure | Heat) -> list[str]:
    if isinstance(item, Heat):
        return [item.y or "row", item.x or "column", item.unit or "value"]
    return [item.x or "x", item.y or "y"]


def _shape(item: Figure | Heat) -> dict[str, Any]:
    # how a figure stands on the page
    if isinstance(item, Heat):
        return {"switches": [], "height": heat.height(item), "full": len(item.rows) > heat.FULL, "heat": True}
    return {"switches": _switches(item), "height": _height(item), "full": False, "heat": False}


def _switches(item: Figure) -> list[tuple[str, bool]]:
    # the axes as drawn that can be logarithmic without hiding anything, and whether they are
    scales = {"x": item.x_scale, "y": item.y_scale}
    drawn = {"x": "y", "y": "x"} if turned(item) else {"x": "x", "y": "y"}
    return [(drawn[a], s == "log") for a, s in scales.items() if s != "category" and positive(item, a)]


def _height(item: Figure) -> float:
    # in rem: bars on their side need a line each
    if not turned(item):
        return 21
    return max(12.0, 5 + sum(0.62 * len(c.x) for c in item.curves) + 0.4 * max(len(c.x) for c in item.curves))


def _cells(item: Table) -> list[list[tuple[str, bool, str]]]:
    # text, whether a number, what to sort by
    texts = zip(*(column(c) for c in zip(*item.rows, strict=True)), strict=True)
    return [[_cell(*cell) for cell in zip(*row, strict=True)] for row in zip(item.rows, texts, strict=True)]


def _cell(v: Any, text: str) -> tuple[str, bool, str]:
    numeric = isinstance(v, (int, float, np.number)) and not isinstance(v, bool)
    return text, numeric, repr(float(v)) if numeric else str(v)


def _run(run: Mapping[str, Any]) -> tuple[str, Any, str]:
    seconds = run.get("seconds")
    return (
        str(run.get("status", "–")),
        seconds if seconds is not None and finite(seconds) else None,
        str(run.get("spec", "–")),
    )
