"""The table of roles of the package's own networks, whose names end in what a tensor is."""

from collections.abc import Iterable

from adamantine.role import HIDDEN, ROLES, Tag, Tags

# What the last word of a name says, without its number, where it is not the role itself.
WORDS = {
    "token": "embedding",
    "stem": "convolution",
    "conv": "convolution",
    "shortcut": "convolution",
    "gain": "norm",
    "log_std": "gain",
    "layer": "matrix",
    "modulation": "matrix",
    "time": "matrix",
}
HEADED = HIDDEN[:4]  # query, key, value and output


def named(names: Iterable[str], heads: int = 0, tied: bool = False) -> Tags:
    """A tag for each of the `names`, such as "block0.query": its last word without ".weight" and without a number.

    Queries, keys, values and outputs have so many `heads`; the embedding is the head too where `tied`. Raises
    ValueError for a name that ends in no role.
    """
    pairs = []
    for name in names:
        word = name.removesuffix(".weight").rpartition(".")[2].rstrip("0123456789")
        role = WORDS.get(word, word)
        if role not in ROLES:
            raise ValueError(f"named: {name!r} ends in no role; end it in one of {', '.join((*ROLES, *WORDS))}.")
        pairs.append((name, Tag(role, heads=heads * (role in HEADED), tied=tied and role == "embedding")))
    return Tags(tuple(pairs))
