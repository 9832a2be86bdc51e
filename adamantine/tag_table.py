"""The table of roles of a module, printed: repeated layers in one row, and a question for what could not be told."""

import re
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from torch import nn

from adamantine.role import Tag, Tags
from adamantine.tagger import read, tag


@dataclass(frozen=True)
class Row:
    """Tensors that differ by the numbers in their names only."""

    name: str
    shape: tuple[int, ...]
    tag: Tag
    reason: str

    @property
    def cells(self) -> tuple[str, ...]:
        """Name, shape, role, heads, fused parts and reason, as words."""
        t = self.tag
        heads = [str(c.heads) for c in t.cuts if c.heads] or ([str(t.heads)] if t.heads else [])
        role = t.role + ", head" * t.tied
        stored = ["[in, out]"] * t.transposed + [f"{t.experts} experts"] * bool(t.experts)
        parts = [" + ".join(f"{c.role} {c.size}" for c in t.cuts)] if t.cuts else []
        shape = " x ".join(map(str, self.shape)) or "scalar"
        return self.name, shape, role, "/".join(dict.fromkeys(heads)), ", ".join(parts + stored), self.reason


def rows(tags: Tags, model: nn.Module) -> list[Row]:
    """A row for every tensor of `tags`, layers that repeat joined: `h.0-11.attn.c_attn.weight`."""
    shapes = {k: tuple(x.shape) for k, x in model.named_parameters()}
    found = read(model)
    out: dict[tuple[str, ...], tuple[tuple[int, ...], Tag, str]] = {}
    for name, t in tags.pairs:
        if name not in shapes:
            raise ValueError(f"table: the model has no parameter {name!r}; give the tags of this model.")
        reason = found[name].reason if found[name].tag == t else "as given"
        out[tuple(name.split("."))] = shapes[name], t, reason
    for i in range(max(map(len, out), default=0)):
        joined: dict[tuple, list[tuple[str, ...]]] = {}
        for name, data in out.items():
            numbered = i < len(name) and name[i].isdigit()
            joined.setdefault((name[:i], "#" if numbered else name[i:][:1], name[i + 1 :], data), []).append(name)
        out = {
            (names[0] if len(names) == 1 else (*key[0], _numbers([n[i] for n in names]), *key[2])): key[3]
            for key, names in joined.items()
        }
    return [Row(".".join(name), *data) for name, data in out.items()]


def _numbers(words: list[str]) -> str:
    """`0-3`, or `0,2,5` where some are left out."""
    n = sorted(map(int, words))
    return f"{n[0]}-{n[-1]}" if n == list(range(n[0], n[-1] + 1)) else ",".join(map(str, n))


def table(tags: Tags, model: nn.Module) -> Table:
    """Name, shape, role, heads, what is fused and why, as a `rich` table. ValueError for another model's tags."""
    out = Table(box=None, pad_edge=False)
    for title in ("name", "shape", "role", "heads", "storage", "why"):
        out.add_column(title, overflow="fold")
    for row in rows(tags, model):
        out.add_row(*row.cells, style="bold" if row.tag.role == "?" else None)
    return out


def questions(tags: Tags, model: nn.Module) -> list[str]:
    """A sentence for every row without a role, with what to write."""
    return [
        f"{row.name}: {row.reason}. Say it, as in tag(model, "
        f'roles={{"{_pattern(row.name)}": "{_likely(row.reason)}"}}).'
        for row in rows(tags, model)
        if row.tag.role == "?"
    ]


def _likely(reason: str) -> str:
    """A role to show how to say one: what the reason speaks of."""
    for word, role in (("query, key", "query+key+value"), ("gate and up", "gate+up"), ("head", "head")):
        if word in reason:
            return role
    return "up"


def _pattern(name: str) -> str:
    return re.sub(r"(?<![^.])\d+([-,]\d+)+(?![^.])", "*", name)


def print_table(model: nn.Module, tags: Tags | None = None, console: Console | None = None) -> None:
    """Print the table of `tags`, read from the model if not given, and what remains to be said."""
    tags, console = tags or tag(model), console or Console()
    console.print(table(tags, model))
    for sentence in questions(tags, model):
        console.print(sentence, markup=False, highlight=False)
