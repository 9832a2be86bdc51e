"""The C text that steps blocks of few-bit state: decoded into a buffer, stepped there, encoded with a new scale."""

from collections.abc import Sequence

from adamantine.kernel import Packed

TINY = "(T)1.1754944e-38"  # what a scale is divided by at least


def loop(inner: str, arrays: Sequence[tuple[int, Packed]]) -> str:
    """The loop over coordinates `c` from `c0` to `c1` that runs `inner`, in blocks where there are packed `arrays`.

    `arrays` are given with their places in the item, the bytes there and the scales in the place after; `inner` knows
    the numbers as `D<place>[c - b]`.
    """
    if not arrays:
        return f"    #pragma omp simd\n    for (long c = c0; c < c1; c++) {{ {inner} }}"
    block = arrays[0][1].block
    return "\n".join(
        [
            f"    for (long b = c0; b < c1; b += {block}) {{",
            f"      const int n = c1 - b < {block} ? c1 - b : {block};",
            *(_decoded(j, p) for j, p in arrays),
            f"      #pragma omp simd\n      for (long c = b; c < b + n; c++) {{ {inner} }}",
            *(_encoded(j, p) for j, p in arrays),
            "    }",
        ]
    )


def _decoded(j: int, p: Packed) -> str:
    byte = f"Q{j}[i]" if p.bits == 8 else f"(Q{j}[i >> 1] >> ((i & 1) * 4)) & 15"
    return (
        f"      uint8_t *Q{j} = (uint8_t *)x[{j}] + b * {p.bits} / 8;\n"
        f"      float *S{j} = (float *)x[{j + 1}] + b / {p.block};\n"
        f"      T D{j}[{p.block}]; {{ const T scale = *S{j};\n      #pragma omp simd\n"
        f"      for (int i = 0; i < n; i++) {{ const int q = {byte}; T y; {p.decode} D{j}[i] = y * scale; }} }}"
    )


def _encoded(j: int, p: Packed) -> str:
    into, pairs = f"Q{j}[i]", ""
    if p.bits == 4:
        into = "E[i]"
        pairs = (
            "      if (n & 1) E[n] = 0;\n      #pragma omp simd\n"
            f"      for (int i = 0; i < (n + 1) / 2; i++) Q{j}[i] = E[2 * i] | E[2 * i + 1] << 4;"
        )
    return (
        f"      {{ T most = 0; uint8_t E[{p.block} + 1]; (void)E;\n      #pragma omp simd reduction(max : most)\n"
        f"      for (int i = 0; i < n; i++) {{ const T a = fabs(D{j}[i]); most = a > most ? a : most; }}\n"
        f"      *S{j} = (float)most; const T over = 1 / (most > {TINY} ? most : {TINY});\n      #pragma omp simd\n"
        f"      for (int i = 0; i < n; i++) {{ const T y = D{j}[i] * over; int q; {p.encode} {into} = (uint8_t)q; }}\n"
        f"{pairs} }}"
    )
