"""Named groups of reparametrizations `w -> Q w`, and which contains which."""

# Each group of reparametrizations w -> Q w, and the named groups it contains. All act on the whole
# parameter vector; "row" and "column" rotate each row or column of each matrix by its own matrix, "layer"
# each tensor, "left-right" sends a matrix W to L W R'.
GROUPS: dict[str, frozenset[str]] = {
    "layer signed permutation": frozenset({"layer signed permutation"}),
    "signed permutation": frozenset({"signed permutation", "layer signed permutation"}),
    "row rotation": frozenset({"row rotation"}),
    "column rotation": frozenset({"column rotation"}),
    "left-right rotation": frozenset({"left-right rotation"}),
    "layer rotation": frozenset(
        {
            "layer rotation",
            "row rotation",
            "column rotation",
            "left-right rotation",
            "layer signed permutation",
        }
    ),
}
GROUPS["rotation"] = frozenset({"rotation", *GROUPS})


def holds(symmetry: str) -> frozenset[str]:
    """Every named group that the declared symmetry contains; `"a & b"` is the union of two, `"none"` empty.

    So is `"unknown"`, for a step whose code is not this package's: nothing may be built on it.
    """
    if symmetry in ("none", "unknown"):
        return frozenset()
    return frozenset().union(*(GROUPS[name] for name in symmetry.split(" & ")))


def symmetry_of(groups: frozenset[str]) -> str:
    """The shortest declaration that holds for exactly these groups."""
    largest = [g for g in groups if not any(g in GROUPS[h] for h in groups if h != g)]
    return " & ".join(sorted(largest)) or "none"
