"""Findings' numbers for other programs: CSV, Parquet and LaTeX."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from adamantine.finding import Figure, Gallery, Heat, Table
from adamantine.report.trace import checked, marks_of

LONG = 200_000  # points above which a figure's data is written as Parquet

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#",
    "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "\n": " ", "\r": " ",
}  # fmt: skip


def latex_text(value: Any) -> str:
    """`value` as LaTeX text: every special character escaped, a number in mathematics mode."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return _latex_number(float(value)) if isinstance(value, (float, np.floating)) else f"${value}$"
    return "".join(_LATEX.get(c, c) for c in str(value))


def latex(table: Table) -> str:
    """The table as a `booktabs` environment with its caption; numbers right-aligned."""
    kinds = "".join("r" if _numeric(table, i) else "l" for i in range(len(table.columns)))
    rows = [" & ".join(map(latex_text, row)) + r" \\" for row in (table.columns, *table.rows)]
    caption = latex_text(f"{table.title}. {table.caption}".strip())
    return "\n".join([
        r"% needs \usepackage{booktabs}", r"\begin{table}", r"  \centering", rf"  \caption{{{caption}}}",
        rf"  \begin{{tabular}}{{{kinds}}}", r"    \toprule", f"    {rows[0]}", r"    \midrule",
        *(f"    {row}" for row in rows[1:]), r"    \bottomrule", r"  \end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def table_csv(table: Table) -> str:
    """The table as CSV with a header (RFC 4180 quoting, full precision)."""
    return _csv(table.columns, table.rows)


def figure_rows(item: Figure) -> list[tuple[Any, ...]]:
    """Every point of every curve: curve, group, x, y, low, high, diverged; a mark is a row without y."""
    rows: list[tuple[Any, ...]] = []
    for c in map(checked, item.curves):
        low, high = c.low or [None] * len(c.x), c.high or [None] * len(c.x)
        rows += [(c.name, c.group, *v, 0) for v in zip(c.x, c.y, low, high, strict=True)]
        rows += [(c.name, c.group, x, None, None, None, 1) for x in marks_of(c)]
    return rows


def heat_rows(item: Heat) -> list[tuple[Any, ...]]:
    """Every cell: row, column, value."""
    pairs = zip(item.rows, item.values, strict=True)
    return [(row, c, v) for row, values in pairs for c, v in zip(item.columns, values, strict=True)]


def save(item: Figure | Heat | Table | Gallery, folder: Path, stem: str) -> Path:
    """Write the whole data of `item` into `folder` and return the file.

    A figure or heat map becomes `stem`.csv, or `stem`.parquet above 200,000 points; a table `stem`.csv (and
    `stem`.tex); a gallery `stem`.npz with one array per row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(item, Gallery):
        path = folder / f"{stem}.npz"
        arrays = {f"row{i}": np.asarray(v, dtype=np.float32) for i, v in enumerate(item.rows.values())}
        np.savez_compressed(path, **{"names": np.array(list(item.rows), dtype=str), **arrays})  # pyright: ignore
        return path
    path = folder / f"{stem}.csv"
    if isinstance(item, Table):
        _write(folder / f"{stem}.tex", latex(item))
        _write(path, table_csv(item))
        return path
    if isinstance(item, Heat):
        names, rows, across = ("row", "column", "value"), heat_rows(item), 1
    else:
        names, rows, across = ("curve", "group", "x", "y", "low", "high", "diverged"), figure_rows(item), 2
    if len(rows) <= LONG:
        _write(path, _csv(names, rows))
        return path
    columns = [list(c) for c in zip(*rows, strict=True)]
    if any(isinstance(x, str) for x in columns[across]):
        columns[across] = [str(x) for x in columns[across]]
    pq.write_table(pa.table(dict(zip(names, columns, strict=True))), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "replace"))


def _csv(columns: tuple[str, ...], rows: Any) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if v is None else v for v in row] for row in rows)
    return out.getvalue()


def _numeric(table: Table, i: int) -> bool:
    return bool(table.rows) and all(isinstance(r[i], (int, float, np.number)) for r in table.rows)


def _latex_number(v: float) -> str:
    if np.isnan(v):
        return "--"
    if np.isinf(v):
        return r"$\infty$" if v > 0 else r"$-\infty$"
    digits, _, power = f"{v:.4g}".partition("e")
    return f"${digits} \\times 10^{{{int(power)}}}$" if power else f"${digits}$"
