"""The C text of a chain of parts: their pieces put into `one_pass.c`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adamantine import packed
from adamantine.kernel import Code, Mean, Packed

SOURCE = (Path(__file__).parent / "one_pass.c").read_text()
HEAD = 6  # weights, direction in, gradient, rows, columns, where the result goes; then the arrays
ACROSS = ("column", "tensor", "rows")
INDEX = {"row": "r", "column": "c", "tensor": "0"}


@dataclass
class _Part:
    """A part's pieces with names that no other part has."""

    code: Code
    names: dict[str, str] = field(default_factory=dict)  # as the body reads them
    copies: dict[str, str] = field(default_factory=dict)  # as a mean's `of` reads them: arrays as local copies
    arrays: list[tuple[int, str | Packed]] = field(default_factory=list)  # by number
    held: list[str] = field(default_factory=list)  # declarations of the copies
    means: list[tuple[Mean, int, int]] = field(default_factory=list)  # with level and number among its like


def in_line(codes: Sequence[Code]) -> bool:
    """Whether there are means over rows only, which can be taken while the row is stepped."""
    means = [m for code in codes for m in code.means]
    later = [m for code in codes[1:] for m in code.means]
    return all(m.shape == "row" for m in means) and not any(_looks(m) for m in later)


def _looks(mean: Mean) -> bool:
    """Whether the mean is of something that earlier parts change."""
    return re.search(r"\bu\b|\$", mean.of) is not None


def shapes(codes: Sequence[Code]) -> frozenset[str]:
    """The shapes of all means."""
    return frozenset(m.shape for code in codes for m in code.means)


def outs(codes: Sequence[Code]) -> tuple[int, int]:
    """How many means are over columns or the tensor, and how many over rows."""
    means = [m for code in codes for m in code.means]
    across = sum(m.shape in ACROSS for m in means)
    return across, len(means) - across


def text(codes: Sequence[Code], kind: str, store: bool) -> str:
    """The whole text for numbers of C type `kind`; with `store` the direction is written, else the weights less it."""
    numbers, pointers, parts = _named_apart(codes)
    row_only = in_line(codes)
    levels = 0 if row_only else 1 + max((level for x in parts for _, level, _ in x.means), default=-1)
    across, by_row = outs(codes)
    filled = {
        "T": kind,
        "STRIDE": str(HEAD + sum(1 + isinstance(shape, Packed) for code in codes for _, shape in code.arrays)),
        "OUTS": str(across),
        "ROW_OUTS": str(by_row),
        "LEVELS": str(levels),
        "NUMBERS": "\n".join(numbers),
        "POINTERS": "\n".join(pointers),
        "SUMS": "\n".join(_sums(parts, level) for level in range(levels)),
        "BLOCKS": "\n".join(_blocks(parts)) if levels else "  (void)level;",
        "ROWS": "\n".join(_rows(parts, row_only)),
        "LOOP": _loop(parts, store),
    }
    return re.sub(r"@(\w+)@", lambda m: filled[m[1]], SOURCE)


def _named(piece: str, names: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda m: names[m[1]], piece)


def _named_apart(codes: Sequence[Code]) -> tuple[list[str], list[str], list[_Part]]:
    numbers, pointers, parts = [], [], []
    number = array = across = by_row = level = 0
    for i, code in enumerate(codes):
        part = _Part(code)
        for name in code.numbers:
            numbers.append(f"  const T {name}_{i} = (T)num[{number}]; (void){name}_{i};")
            part.names[name] = part.copies[name] = f"{name}_{i}"
            number += 1
        for name, shape in code.arrays:
            at = f"x[{HEAD + array}]"
            part.arrays.append((array, shape))
            if isinstance(shape, Packed):
                part.names[name] = part.copies[name] = f"D{HEAD + array}[c - b]"
                array += 1
            elif shape == "bf16":
                pointers.append(f"    uint16_t *A{array} = (uint16_t *){at} + r * cols; (void)A{array};")
                part.names[name], part.copies[name] = f"B{array}", f"L{array}"
                part.held.append(f"T L{array} = bf16(A{array}[c]); (void)L{array};")
            elif shape == "full":
                pointers.append(f"    T *A{array} = (T *){at} + r * cols; (void)A{array};")
                part.names[name], part.copies[name] = f"A{array}[c]", f"L{array}"
                part.held.append(f"T L{array} = A{array}[c]; (void)L{array};")
            else:
                part.names[name] = part.copies[name] = f"((T *){at})[{INDEX[shape]}]"
            array += 1
        behind = level + 1 if any(x.means for x in parts) else level
        for mean in code.means:
            if i and _looks(mean):
                level = behind
            if mean.shape in ACROSS:
                place = f"outs[{across} * (cols + 1) + c]" if mean.shape == "column" else f"out{across}"
                part.means.append((mean, level if i and _looks(mean) else _own(mean, part), across))
                across += 1
            else:
                place = f"row{by_row}"
                part.means.append((mean, level if i and _looks(mean) else 0, by_row))
                by_row += 1
            part.names[mean.name] = part.copies[mean.name] = place
        parts.append(part)
    return numbers, pointers, parts


def _own(mean: Mean, part: _Part) -> int:
    """A mean of rows is taken with the rows."""
    return part.means[-1][1] if mean.shape == "rows" else 0


def _before(parts: Sequence[_Part], mean: Mean, part: _Part) -> str:
    """`x`, computed from the start on copies, so that nothing is changed."""
    lines = ["T x, u = U[c]; const T g = G[c], w = W[c]; (void)u; (void)g; (void)w;"]
    if _looks(mean):
        for earlier in parts[: parts.index(part)]:
            lines += [*earlier.held, f"{{ {_named(earlier.code.body, earlier.copies)} }}"]
        lines += part.held
    return " ".join([*lines, _named(mean.of, part.copies)])


def _sums(parts: Sequence[_Part], level: int) -> str:
    """The loops over one row that take the means of one level, one loop for each thing that is averaged."""
    groups: dict[str, list[tuple[Mean, int, _Part]]] = {}
    for part in parts:
        for mean, at, place in part.means:
            if at == level and mean.shape != "rows":
                groups.setdefault(_before(parts, mean, part), []).append((mean, place, part))
    out = [f"    if (level == {level}) {{", *_row_values(parts, level)]
    for what, means in groups.items():
        whole = any(m.shape != "column" for m, *_ in means)
        columns = "".join(
            f" sum[{place} * (cols + 1) + c] += (double)x;" for m, place, _ in means if m.shape == "column"
        )
        out += [
            "      { T part = 0; (void)part;",
            f"      #pragma omp simd{' reduction(+ : part)' if whole else ''}",
            f"      for (long c = 0; c < cols; c++) {{ {what}{' part += x;' if whole else ''}{columns} }}",
        ]
        for mean, place, part in means:
            if mean.shape == "tensor":
                out.append(f"      sum[{place} * (cols + 1) + cols] += (double)part;")
            if mean.shape == "row":
                block = _named(mean.block, {**part.names, mean.name: "out"})
                out.append(
                    f"      {{ const T mean = part / cols; T out; {block} rows_out[{place} * rows + r] = out; }}"
                )
        out.append("      }")
    return "\n".join([*out, "    }"])


def _row_values(parts: Sequence[_Part], level: int) -> Iterator[str]:
    """What means over rows have left, of levels before."""
    for part in parts:
        for mean, at, place in part.means:
            if at < level:
                yield f"      {_constant(mean, place)}"


def _constant(mean: Mean, place: int) -> str:
    """What a mean has left for the row or the tensor, ahead of the loop over coordinates."""
    if mean.shape == "row":
        return f"const T row{place} = rows_out[{place} * rows + r]; (void)row{place};"
    if mean.shape == "column":
        return ""
    return f"const T out{place} = outs[{place} * (cols + 1) + cols]; (void)out{place};"


def _blocks(parts: Sequence[_Part]) -> Iterator[str]:
    for part in parts:
        known = ""
        for mean, level, place in part.means:
            if mean.shape == "row":
                rows_at = place
                continue
            block = _named(mean.block, {**part.names, mean.name: "out"})
            start = f"sum[{place} * (cols + 1)"
            if mean.shape == "column":
                loop, value, slot = "for (long c = 0; c < cols; c++) ", f"{start} + c] / rows", "c"
            elif mean.shape == "tensor":
                loop, value, slot = "", f"{start} + cols] / ((double)rows * cols)", "cols"
            else:
                value, slot = "all / rows", "cols"
                loop = f"double all = 0; for (long r = 0; r < rows; r++) all += rows_out[{rows_at} * rows + r]; "
            line = f"{known}{loop}{{ const T mean = (T)({value}); T out; (void)mean; {block} "
            yield f"  if (level == {level}) {{ {line}outs[{place} * (cols + 1) + {slot}] = out; }} }}"
            known += _constant(mean, place) + " "


def _rows(parts: Sequence[_Part], row_only: bool) -> Iterator[str]:
    """What is known of the row before its coordinates are stepped."""
    for part in parts:
        for mean, _, place in part.means:
            if not row_only:
                yield f"    {_constant(mean, place)}"
                continue
            block = _named(mean.block, {**part.names, mean.name: "out"})
            yield f"    T row{place};\n    {{ T part = 0;\n    #pragma omp simd reduction(+ : part)"
            yield f"    for (long c = 0; c < cols; c++) {{ {_before(parts, mean, part)} part += x; }}"
            yield f"    const T mean = part / cols; T out; {block} row{place} = out; }}"


def _loop(parts: Sequence[_Part], store: bool) -> str:
    bodies = "\n".join(f"      {{ {_named(part.code.body, part.names)} }}" for part in parts)
    inner = (
        "T u = U[c]; const T g = G[c], w = W[c]; (void)g; (void)w;\n"
        f"{bodies}\n      OUT[c] = {'u' if store else 'w - u'};"
    )
    found = [(j, shape) for part in parts for j, shape in part.arrays]
    loads = "".join(f"T B{j} = bf16(A{j}[c]); " for j, shape in found if shape == "bf16")
    stores = "".join(f" A{j}[c] = to_bf16(B{j});" for j, shape in found if shape == "bf16")
    return packed.loop(
        f"{loads}{inner}{stores}", [(HEAD + j, shape) for j, shape in found if isinstance(shape, Packed)]
    )
