"""The page of a claim: one self-contained HTML file that opens offline, verdicts first."""

import base64
import functools
import gzip
import json
import math
import os
import shlex
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

from adamantine.finding import INCONCLUSIVE, REFUTED, SUPPORTED, Figure, Findings, Gallery, Table
from adamantine.report import export
from adamantine.report.trace import colours, positive, spec

HERE = Path(__file__).parent
SIGN = {SUPPORTED: "✓", REFUTED: "✗", INCONCLUSIVE: "?"}  # with the word, so that colour carries nothing alone
ZIP_ABOVE = 60_000  # characters of figure data above which it is compressed


def write(
    title: str,
    question: str,
    findings: Findings,
    items: Sequence[Figure | Table | Gallery],
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
        if not isinstance(item, (Figure, Table, Gallery)):
            raise TypeError(f"write: {item!r} is not a Figure, Table or Gallery.")
    folder = out.with_name(f"{out.stem}-data")
    out.parent.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    tint = colours(items)
    shown, drawings, texts = [], {}, {}
    for kind in (Figure, Gallery, Table):
        for i, item in enumerate((item for item in items if isinstance(item, kind)), 1):
            name = f"{kind.__name__.lower()}-{i}"
            file = export.save(item, folder, name)
            view: dict[str, Any] = {
                "id": name, "kind": kind.__name__, "item": item, "number": i, "behind": _keys(item.keys, runs),
                "file": f"{folder.name}/{file.name}", "suffix": file.suffix[1:],
            }  # fmt: skip
            if isinstance(item, Figure):
                drawing = spec(item, tint)
                drawings[name] = {
                    **{k: drawing[k] for k in ("data", "layout")}, "file": f"{out.stem}-{name}",
                    "columns": [item.x, item.y],
                }  # fmt: skip
                logs = [a for a in "xy" if getattr(item, f"{a}_scale") != "category" and positive(item, a)]
                view |= {"legend": drawing["legend"], "logs": logs} | {k: drawing[k] for k in ("drawn", "total")}
            elif isinstance(item, Table):
                view["rows"] = [[_cell(v) for v in row] for row in item.rows]
                texts[name] = {"csv": export.table_csv(item), "tex": export.latex(item), "file": f"{out.stem}-{name}"}
            else:
                view["rows"] = {k: [png(image) for image in images] for k, images in item.rows.items()}
            shown.append(view)
    loader = FileSystemLoader(HERE)
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters |= {"number": number, "quoted": shlex.quote}
    html = page.get_template("page.html").render(
        title=title, question=question, findings=findings, items=shown, command=command,
        cards=[(f, SIGN[f.verdict], _keys(f.keys, runs)) for f in findings.findings],
        tally=Counter(f.verdict for f in findings.findings), folder=folder.name,
        runs=[(key, _run(runs[key])) for key in runs],
        css=Markup((HERE / "page.css").read_text("utf-8")), js=Markup((HERE / "page.js").read_text("utf-8")),
        figures=island("figures", drawings), texts=island("texts", texts),
        plotly=_plotly() if drawings else "",
    )  # fmt: skip
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    aside.write_bytes(html.encode("utf-8", "replace"))
    aside.replace(out)
    return out


def island(name: str, value: Any) -> Markup:
    """`value` as a data block of the page: JSON in which no `<`, `&` or U+2028 stands, compressed when long."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII: U+2028 and the like are escaped
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    kind = "application/json"
    if len(text) > ZIP_ABOVE:
        kind, text = "application/gzip", _packed(text)
    return Markup('<script id="{}" type="{}">{}</script>').format(name, kind, Markup(text))


def number(v: Any) -> str:
    """A number for readers: four significant digits, `a×10ⁿ` far from 1, `∞`, and a dash for NaN."""
    if v is None or (isinstance(v, (float, np.floating)) and math.isnan(v)):
        return "–"
    if isinstance(v, (bool, str)) or not isinstance(v, (int, float, np.number)):
        return str(v)
    if isinstance(v, (int, np.integer)):
        return f"{v:,}".replace(",", "\u202f").replace("-", "−") if abs(v) >= 10_000 else str(v).replace("-", "−")
    if math.isinf(v):
        return "∞" if v > 0 else "−∞"
    if v == 0:
        return "0"
    if 1e-3 <= abs(v) < 1e5:
        digits = max(0, 3 - math.floor(math.log10(abs(v))))
        text = f"{v:.{digits}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
    digits, power = f"{v:.2e}".split("e")
    small = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits.rstrip('0').rstrip('.')}×10{small}".replace("-", "−")


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
    for kind in ("figure", "table", "gallery"):
        for old in folder.glob(f"{kind}-*.*"):
            old.unlink()


def _cell(v: Any) -> tuple[str, bool, str]:
    # text, whether a number, what to sort by
    numeric = isinstance(v, (int, float, np.number)) and not isinstance(v, bool)
    return number(v), numeric, repr(float(v)) if numeric else str(v)


def _keys(keys: Sequence[str], runs: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(k, str(runs[k].get("status", "–")) if k in runs else "") for k in dict.fromkeys(keys)]


def _run(run: Mapping[str, Any]) -> tuple[str, str, Any]:
    return str(run.get("spec", "–")), str(run.get("status", "–")), run.get("seconds")
